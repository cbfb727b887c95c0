/* report.c -- one result in two forms. */
#include "bench/report.h"

#include "tensor/gemm.h"
#include "tensor/isa.h"
#include "tensor/parallel.h"

void bench_report_head(const BenchPeaks *peaks) {
    printf("instruction set %s, gemm %s, threads %d\n", tensor_isa_name(tensor_isa()),
           tensor_gemm_config(), tensor_threads());
    if (peaks->fma > 0)
        printf("peaks of this run in GFLOP/s: multiply-adds %.1f, product of size %d %.1f "
               "(BLIS's own on one thread %.1f)\n",
               peaks->fma, (int)peaks->gemm_size, peaks->gemm, peaks->blis);
    printf("%-24s %10s %10s %6s %8s %5s %9s %8s\n", "case", "ms median", "ms min", "n", "GFLOP/s",
           "peak", "tokens/s", "RSS MiB");
}

/* Shares of a result; 0 where they do not apply. */
typedef struct {
    double gflops, peak_share, tokens_per_s, rss_mib;
} Rates;

static Rates rates(const BenchResult *r, const BenchPeaks *peaks) {
    double gflops = 1e-9 * r->flops / r->timing.median;
    return (Rates){gflops, peaks->fma > 0 ? gflops / peaks->fma : 0, r->tokens / r->timing.median,
                   r->rss_mib > 0 ? r->rss_mib : bench_rss_mib()};
}

static const char *text(char *buf, size_t n, const char *format, double x)
    __attribute__((format(printf, 3, 0)));
static const char *text(char *buf, size_t n, const char *format, double x) {
    if (x > 0) snprintf(buf, n, format, x);
    else snprintf(buf, n, "-");
    return buf;
}

/* Milliseconds with enough digits for a microsecond and less. */
static const char *ms_format(double s) { return s < 1e-3 ? "%.6f" : s < 0.1 ? "%.3f" : "%.1f"; }

static void write_row(const BenchCase *c, const BenchResult *r, const Rates *rate) {
    enum { N = 32 };
    char median[N], minimum[N], gflops[N], share[N], tokens[N];
    const char *ms = ms_format(r->timing.median);
    printf("%-24s %10s %10s %6d %8s %5s %9s %8.1f%s%s\n", c->name,
           text(median, N, ms, 1e3 * r->timing.median),
           text(minimum, N, ms, 1e3 * r->timing.minimum), r->timing.n,
           text(gflops, N, "%.1f", rate->gflops),
           text(share, N, "%.0f%%", 100 * rate->peak_share),
           text(tokens, N, "%.0f", rate->tokens_per_s), rate->rss_mib, *r->note ? "  " : "",
           r->note);
}

static json_t *number(double x) { return x > 0 ? json_real(x) : json_null(); }

static json_t *as_json(const BenchCase *c, const BenchResult *r, const Rates *rate,
                       const BenchPeaks *peaks) {
    json_t *j = json_pack(
        "{s:s, s:i, s:f, s:f, s:i, s:o, s:o, s:f, s:o, s:s, s:s, s:o, s:o, s:o}", "case", c->name,
        "threads", tensor_threads(), "ms_median", 1e3 * r->timing.median, "ms_min",
        1e3 * r->timing.minimum, "n", r->timing.n, "gflops", number(rate->gflops), "peak_share",
        number(rate->peak_share), "rss_mib", rate->rss_mib, "tokens_per_s",
        number(rate->tokens_per_s), "isa", tensor_isa_name(tensor_isa()), "gemm",
        tensor_gemm_config(), "fma_peak", number(peaks->fma), "gemm_peak", number(peaks->gemm),
        "blis_peak", number(peaks->blis));
    if (j && r->more && json_object_update(j, r->more) != 0) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

bool bench_report(const BenchCase *c, BenchResult *r, const BenchPeaks *peaks, FILE *json) {
    Rates rate = rates(r, peaks);
    write_row(c, r, &rate);
    json_t *j = as_json(c, r, &rate, peaks);
    bool ok = j && json_dumpf(j, json, JSON_REAL_PRECISION(6)) == 0 && fputc('\n', json) != EOF;
    json_decref(j);
    json_decref(r->more);
    r->more = NULL;
    return ok && fflush(json) == 0 && fflush(stdout) == 0;
}
