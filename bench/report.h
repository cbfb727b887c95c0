/* report.h -- results as lines to read and as lines of JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H
#include <stdio.h>

#include "bench/cases.h"
#include "bench/peak.h"

/* What was measured on: instruction set, matrix product, threads, peaks; and the table's head. */
void bench_report_head(const BenchPeaks *peaks);

/* A row of the table on stdout, and a line of JSON on `json`, an object with the keys
 *     case, threads, ms_median, ms_min, n, gflops, peak_share, rss_mib, tokens_per_s, isa, gemm,
 *     fma_peak, gemm_peak, blis_peak
 * and then the case's own; what does not apply or was not measured is null.  gflops is of the
 * median step, peak_share is gflops / fma_peak, rss_mib the most memory that the case had
 * resident.  Takes r->more.  False: out of memory, or a stream failed. */
bool bench_report(const BenchCase *c, BenchResult *r, const BenchPeaks *peaks, FILE *json);

#endif
