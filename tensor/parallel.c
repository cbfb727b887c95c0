/* parallel.c -- the threads and the one job that they share at a time.
 *
 * Ranges of a job are claimed from a counter.  A thread that sleeps or is held up claims none, so
 * the caller never waits for one that has not begun; it waits for those that are inside the job.
 * A thread enters by counting itself in `inside` and then looking whether the job is still open;
 * the caller closes the job and then looks at `inside`.  Both in one order for all (seq_cst), so
 * either the thread sees the job closed or the caller sees the thread. */
#define _GNU_SOURCE
#include "tensor/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() ((void)0)
#endif

/* Looks that a thread takes at the next job before it sleeps: some 30 us, longer than the gaps
 * between the steps of a sequence, and short beside the work of a call that is worth sharing. */
enum { LOOKS = 2000, CLOSED = 0 };

typedef void Run(int64_t begin, int64_t end, void *context);

static struct {
    atomic_uint_fast64_t open; /* the number of the job that may be entered, or CLOSED */
    atomic_int inside;         /* threads that have entered, or are looking whether they may */
    atomic_int sleeping;
    atomic_int_fast64_t next;  /* the first number that no thread has claimed */
    int64_t n, grain;
    Run *run;
    void *context;

    atomic_flag busy; /* a caller has the threads */
    uint64_t jobs;
    int started;      /* threads besides the callers */
    pthread_mutex_t lock;
    pthread_cond_t wake;
} pool = {.busy = ATOMIC_FLAG_INIT, .lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

/* ---- how many ---- */

static atomic_int threads; /* 0: undecided */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char warning[128]; /* written inside `once` only */

static int processors(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > TENSOR_DEFAULT_THREADS ? TENSOR_DEFAULT_THREADS : n;
}

static void decide(void) {
    const char *value = getenv("UNROLL_THREADS");
    int n = processors();
    if (value && *value) {
        char *end;
        long asked = strtol(value, &end, 10);
        if (*end == 0 && asked >= 1 && asked <= TENSOR_MAX_THREADS) n = (int)asked;
        else
            snprintf(warning, sizeof warning, "UNROLL_THREADS is no number in 1..%d; using %d",
                     TENSOR_MAX_THREADS, n);
    }
    atomic_store(&threads, n);
}

int tensor_threads(void) {
    int n = atomic_load_explicit(&threads, memory_order_relaxed);
    if (n) return n;
    pthread_once(&once, decide);
    return atomic_load(&threads);
}

bool tensor_threads_set(int n) {
    if (n < 1 || n > TENSOR_MAX_THREADS) return false;
    pthread_once(&once, decide); /* or a later first use would undo this */
    atomic_store(&threads, n);
    return true;
}

const char *tensor_threads_warning(void) {
    pthread_once(&once, decide);
    return *warning ? warning : NULL;
}

/* ---- the threads ---- */

static void claim_ranges(void) {
    int64_t n = pool.n, grain = pool.grain;
    for (int64_t begin; (begin = atomic_fetch_add(&pool.next, grain)) < n;)
        pool.run(begin, n - begin < grain ? n : begin + grain, pool.context);
}

/* The number of a job other than the last one seen. */
static uint64_t wait_for_job(uint64_t last) {
    uint64_t job;
    for (int i = 0; i < LOOKS; i++) {
        job = atomic_load_explicit(&pool.open, memory_order_relaxed);
        if (job != CLOSED && job != last) return job;
        PAUSE();
    }
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.sleeping, 1);
    while ((job = atomic_load(&pool.open)) == CLOSED || job == last)
        pthread_cond_wait(&pool.wake, &pool.lock);
    atomic_fetch_sub(&pool.sleeping, 1);
    pthread_mutex_unlock(&pool.lock);
    return job;
}

static void *work(void *index) {
    int own = (int)(intptr_t)index;
    for (uint64_t job = CLOSED;;) {
        job = wait_for_job(job);
        atomic_fetch_add(&pool.inside, 1);
        if (atomic_load(&pool.open) == job && own < tensor_threads()) claim_ranges();
        atomic_fetch_sub(&pool.inside, 1);
    }
    return NULL;
}

/* A child process has the memory but not the threads. */
static void forget_threads(void) {
    atomic_store(&pool.open, CLOSED);
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.sleeping, 0);
    atomic_flag_clear(&pool.busy);
    pool.started = 0;
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_threads); }

/* Signals go to the program's own threads.  Where no thread can be started, those that are there
 * do the work. */
static void start(int wanted) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    pthread_once(&watched, watch_forks);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.started < wanted) {
        pthread_t id;
        intptr_t index = pool.started + 1;
        if (pthread_create(&id, NULL, work, (void *)index) != 0) break;
        pthread_detach(id);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void run_shared(int64_t n, int64_t grain, Run *run, void *context) {
    pool.n = n;
    pool.grain = grain;
    pool.run = run;
    pool.context = context;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.open, ++pool.jobs);
    if (atomic_load(&pool.sleeping) > 0) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    claim_ranges();
    atomic_store(&pool.open, CLOSED);
    while (atomic_load(&pool.inside) > 0) PAUSE();
}

void tensor_parallel(int64_t n, int64_t grain, Run *run, void *context) {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    if (n > grain && tensor_threads() > 1 && !atomic_flag_test_and_set(&pool.busy)) {
        if (pool.started < tensor_threads() - 1) start(tensor_threads() - 1);
        run_shared(n, grain, run, context);
        atomic_flag_clear(&pool.busy);
        return;
    }
    for (int64_t begin = 0; begin < n; begin += grain)
        run(begin, n - begin < grain ? n : begin + grain, context);
}
