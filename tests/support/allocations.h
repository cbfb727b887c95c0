/* allocations.h -- counts calls of malloc and its relatives by everything that is linked
 * statically into the test: the library, BLIS, the test itself. */
#ifndef TESTS_SUPPORT_ALLOCATIONS_H
#define TESTS_SUPPORT_ALLOCATIONS_H
#include <stdbool.h>

long allocations(void); /* since the program's start */
/* While on, every one of them returns NULL (posix_memalign ENOMEM). */
void fail_allocations(bool on);
/* The n-th from now alone does so; 0: none. */
void fail_allocation(long n);
/* The next n succeed, and all behind them fail, until fail_allocations(false). */
void fail_allocations_after(long n);

#endif
