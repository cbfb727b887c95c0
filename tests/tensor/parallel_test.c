#include "tensor/parallel.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Each test is a process of its own, so the first use of the library is in it. */

enum { MOST = 5000 };

typedef struct {
    int64_t n, grain;
    atomic_int seen[MOST]; /* how many times each number was run */
    atomic_int ranges, wrong;
} Count;

static void count(int64_t begin, int64_t end, void *context) {
    Count *c = context;
    const bool last = end == c->n;
    if (begin < 0 || begin >= end || end > c->n || begin % c->grain != 0 ||
        (!last && end - begin != c->grain)) {
        atomic_fetch_add(&c->wrong, 1);
        return;
    }
    atomic_fetch_add(&c->ranges, 1);
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&c->seen[i], 1);
}

static bool runs_each_once(int64_t n, int64_t grain) {
    Count *c = calloc(1, sizeof *c);
    cr_assert_not_null(c);
    c->n = n;
    c->grain = grain < 1 ? 1 : grain;
    tensor_parallel(n, grain, count, c);
    bool right = c->wrong == 0 && c->ranges == (n > 0 ? (n - 1) / c->grain + 1 : 0);
    for (int64_t i = 0; i < n; i++) right &= c->seen[i] == 1;
    free(c);
    return right;
}

static bool all_shapes_run_once(void) {
    static const int64_t sizes[] = {-1, 0, 1, 2, 3, 7, 64, 65, 1000, MOST};
    static const int64_t grains[] = {-1, 0, 1, 2, 3, 64, 999, 1000, MOST, INT64_MAX};
    bool right = true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof grains / sizeof *grains; k++)
            right &= runs_each_once(sizes[i], grains[k]);
    return right;
}

Test(parallel, every_number_is_run_once_in_the_same_ranges_for_any_number_of_threads) {
    for (int threads = 1; threads <= 5; threads++) {
        cr_assert(tensor_threads_set(threads));
        cr_expect(all_shapes_run_once(), "%d threads", threads);
    }
    cr_assert(tensor_threads_set(TENSOR_MAX_THREADS)); /* far more than processors */
    cr_expect(all_shapes_run_once());
    cr_assert(tensor_threads_set(2)); /* and back: the others sleep */
    cr_expect(all_shapes_run_once());
}

static void pause_ms(int64_t ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

Test(parallel, calls_in_a_row_and_after_pauses_are_complete) {
    tensor_threads_set(3);
    for (int i = 0; i < 20000; i++) cr_assert(runs_each_once(7, 1), "call %d", i);
    for (int i = 0; i < 30; i++) {
        pause_ms(i % 3);
        cr_assert(runs_each_once(64, 3), "call %d after a pause", i);
    }
}

typedef struct {
    pthread_t main;
    atomic_bool other;
} Threads;

static void wait_for_another_thread(int64_t begin, int64_t end, void *context) {
    Threads *t = context;
    (void)begin, (void)end;
    if (!pthread_equal(pthread_self(), t->main)) atomic_store(&t->other, true);
    for (int ms = 0; ms < 5000 && !atomic_load(&t->other); ms++) pause_ms(1);
}

Test(parallel, another_thread_takes_part) {
    tensor_threads_set(2);
    for (int asleep = 0; asleep < 2; asleep++) {
        Threads t = {.main = pthread_self()};
        tensor_parallel(2, 1, wait_for_another_thread, &t);
        cr_expect(atomic_load(&t.other));
        pause_ms(10);
    }
}

static atomic_int done;

static void be_slow_on_another_thread(int64_t begin, int64_t end, void *context) {
    wait_for_another_thread(begin, end, context);
    if (!pthread_equal(pthread_self(), ((Threads *)context)->main)) pause_ms(20);
    atomic_fetch_add(&done, 1);
}

Test(parallel, a_call_returns_when_the_last_range_is_done) {
    Threads t = {.main = pthread_self()};
    tensor_threads_set(2);
    tensor_parallel(2, 1, be_slow_on_another_thread, &t);
    cr_expect(atomic_load(&t.other));
    cr_expect_eq(atomic_load(&done), 2);
}

static void note_another_thread(int64_t begin, int64_t end, void *context) {
    Threads *t = context;
    (void)begin, (void)end;
    if (!pthread_equal(pthread_self(), t->main)) atomic_store(&t->other, true);
    pause_ms(1);
}

Test(parallel, one_thread_or_one_range_stays_on_the_caller) {
    Threads t = {.main = pthread_self()};
    tensor_threads_set(3);
    tensor_parallel(20, 1, note_another_thread, &t);
    atomic_store(&t.other, false);
    tensor_parallel(20, 20, note_another_thread, &t);
    tensor_threads_set(1);
    tensor_parallel(20, 1, note_another_thread, &t);
    cr_expect_not(atomic_load(&t.other));
}

static void nest(int64_t begin, int64_t end, void *context) {
    atomic_int *right = context;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(right, runs_each_once(100 + i, 9));
}

Test(parallel, a_call_inside_a_range_is_complete) {
    tensor_threads_set(3);
    atomic_int right = 0;
    tensor_parallel(50, 1, nest, &right);
    cr_expect_eq(atomic_load(&right), 50);
}

static void *call_often(void *argument) {
    atomic_int *right = argument;
    for (int i = 0; i < 2000; i++) atomic_fetch_add(right, runs_each_once(1 + i % 50, 1 + i % 7));
    return NULL;
}

Test(parallel, callers_on_several_threads_do_not_disturb_each_other) {
    enum { CALLERS = 4 };
    pthread_t thread[CALLERS];
    atomic_int right = 0;
    tensor_threads_set(3);
    for (int i = 0; i < CALLERS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, call_often, &right), 0);
    for (int i = 0; i < CALLERS; i++) pthread_join(thread[i], NULL);
    cr_expect_eq(atomic_load(&right), 2000 * CALLERS);
}

/* What a child process returns from f, or -1. */
static int status_in_child(int (*f)(void)) {
    int status = 0;
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) _exit(f());
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int another_thread_works(void) {
    Threads t = {.main = pthread_self()};
    bool right = all_shapes_run_once();
    tensor_parallel(2, 1, wait_for_another_thread, &t);
    return right && atomic_load(&t.other) ? 0 : 1;
}

static void fork_inside(int64_t begin, int64_t end, void *context) {
    (void)end;
    if (begin == 0) *(int *)context = status_in_child(another_thread_works);
}

Test(parallel, a_forked_process_has_threads_of_its_own) {
    int inside = -1;
    tensor_threads_set(2);
    cr_expect_eq(status_in_child(another_thread_works), 0); /* before there are threads */
    cr_expect_eq(another_thread_works(), 0);
    cr_expect_eq(status_in_child(another_thread_works), 0); /* while they look for work */
    pause_ms(10);
    cr_expect_eq(status_in_child(another_thread_works), 0); /* while they sleep */
    tensor_parallel(2, 1, fork_inside, &inside);
    cr_expect_eq(inside, 0); /* while they work */
    cr_expect_eq(another_thread_works(), 0);
}

static int return_while_threads_work(void) {
    tensor_threads_set(4);
    bool right = runs_each_once(1000, 1);
    exit(right ? 0 : 1); /* with atexit and destructors */
}

Test(parallel, a_process_ends_with_its_threads_awake) {
    for (int i = 0; i < 20; i++) cr_assert_eq(status_in_child(return_while_threads_work), 0);
}

Test(parallel, set_takes_what_is_in_bounds_and_nothing_else) {
    static const int wrong[] = {INT32_MIN, -1, 0, TENSOR_MAX_THREADS + 1, INT32_MAX};
    static const int good[] = {1, 2, TENSOR_MAX_THREADS};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect(tensor_threads_set(good[i]));
        cr_expect_eq(tensor_threads(), good[i]);
        for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
            cr_expect_not(tensor_threads_set(wrong[k]));
            cr_expect_eq(tensor_threads(), good[i]);
        }
    }
}

/* What the library makes of UNROLL_THREADS in a process of its own: 100 for a warning of one
 * line and the default, else the number of threads. */
static int threads_or_warning(void) {
    const char *warning = tensor_threads_warning();
    int n = tensor_threads();
    if (warning == NULL) return n;
    unsetenv("UNROLL_THREADS"); /* read once: no difference */
    bool line = strlen(warning) < 100 && strpbrk(warning, "\n\r\t\033") == NULL &&
                strstr(warning, "UNROLL_THREADS") != NULL;
    return line && n >= 1 && n <= TENSOR_DEFAULT_THREADS && n == tensor_threads() ? 100 : 200;
}

Test(parallel, the_variable_sets_the_number_or_is_reported) {
    static const struct {
        const char *value;
        int expected;
    } cases[] = {
        {"1", 1},   {"2", 2},     {"7", 7},    {"64", 64},
        {"0", 100}, {"65", 100},  {"-1", 100}, {"99999999999999999999", 100},
        {" ", 100}, {"two", 100}, {"2x", 100}, {"2.5", 100},
        {"2 ", 100}, {"0x2", 100}, {"\n\033[31m a name that goes on and on and on and on", 100},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("UNROLL_THREADS", cases[i].value, 1);
        cr_expect_eq(status_in_child(threads_or_warning), cases[i].expected, "\"%s\"",
                     cases[i].value);
    }
    unsetenv("UNROLL_THREADS");
    int by_default = status_in_child(threads_or_warning);
    cr_expect(by_default >= 1 && by_default <= TENSOR_DEFAULT_THREADS);
    setenv("UNROLL_THREADS", "", 1); /* as none */
    cr_expect_eq(status_in_child(threads_or_warning), by_default);
}

/* ---- ranges by cost ---- */

typedef struct {
    int64_t begin[64], end[64];
    atomic_int ranges;
} Ranges;

static void note_range(int64_t begin, int64_t end, void *context) {
    Ranges *r = context;
    int i = atomic_fetch_add(&r->ranges, 1);
    if (i >= 64) return;
    r->begin[i] = begin;
    r->end[i] = end;
}

Test(parallel, ranges_of_work_are_even_and_no_shorter_than_is_worth_it) {
    static const struct {
        int64_t n;
        double ns;
        int least, most; /* ranges */
    } cases[] = {
        {0, 1e9, 0, 0},       {-3, 1e9, 0, 0},    {1, 1e9, 1, 1},        {2, 1e9, 2, 2},
        {1000, 1, 1, 1},      {1000, 0, 1, 1},    {100000, 1, 4, 20},    {3, 100000, 3, 3},
        {1000000, 1, 32, 64}, {1000, 1e9, 32, 64}, {1000000000, 1, 32, 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int threads = 1; threads <= 3; threads++) {
            Ranges r = {.ranges = 0};
            int64_t covered = 0, longest = 0;
            tensor_threads_set(threads);
            tensor_parallel_work(cases[i].n, cases[i].ns, note_range, &r);
            cr_assert(r.ranges >= cases[i].least && r.ranges <= cases[i].most,
                      "case %zu: %d ranges", i, r.ranges);
            for (int k = 0; k < r.ranges; k++) {
                const int64_t length = r.end[k] - r.begin[k];
                covered += length;
                longest = length > longest ? length : longest;
            }
            cr_expect_eq(covered, cases[i].n > 0 ? cases[i].n : 0);
            cr_expect(r.ranges < 2 || (double)longest * cases[i].ns >= 5000);
        }
    }
}
