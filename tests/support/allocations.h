/* allocations.h -- counts calls of malloc and its relatives by everything that is linked
 * statically into the test: the library, BLIS, the test itself. */
#ifndef TESTS_SUPPORT_ALLOCATIONS_H
#define TESTS_SUPPORT_ALLOCATIONS_H

long allocations(void); /* since the program's start */

#endif
