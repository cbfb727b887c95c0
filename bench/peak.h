/* peak.h -- what this machine can do, with which the cases are compared. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H
#include <stdint.h>

/* GFLOP/s in F32 on the threads in use; 0: not measured. */
typedef struct {
    double fma;  /* multiply-adds in registers: the ceiling */
    double gemm; /* tensor_gemm of square matrices of size gemm_size */
    double blis; /* BLIS's own product of the same, on one thread */
    int64_t gemm_size;
} BenchPeaks;

/* Measures for about `budget` seconds; of several tries the fastest counts.  gemm and blis
 * stay 0 when out of memory, blis also without BLIS. */
BenchPeaks bench_peaks(double budget);

#endif
