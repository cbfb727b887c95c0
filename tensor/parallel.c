/* parallel.c -- the threads and the one job that they share at a time.
 *
 * Ranges of a job are claimed from a counter.  A thread that sleeps or is held up claims none, so
 * the caller never waits for one that has not begun; it waits for those that are inside the job.
 * A thread enters by counting itself in `inside` and then looking whether the job is still open;
 * the caller closes the job and then looks at `inside`.  Both in one order for all (seq_cst), so
 * either the thread sees the job closed or the caller sees the thread.  `sleeping` and `open` go
 * the same way: either the thread that lies down sees the job, or the caller wakes it. */
#define _GNU_SOURCE
#include "tensor/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("isb")
#else
#define PAUSE() ((void)0)
#endif

enum {
    CLOSED = 0,
    LOOKS = 64, /* between two looks at the clock, or before another thread gets the processor */
    LINE = 128, /* bytes that processors pass to each other at once */
    /* How long a thread looks for the next job before it sleeps.  Waking it costs the caller
     * some 8 us and comes 20 us late, so this is longer than the gaps in a training step. */
    AWAKE_NS = 100000,
    MOST_RANGES = 64,
};

typedef void Run(int64_t begin, int64_t end, void *context);

static struct {
    /* What waiting threads look at. */
    _Alignas(LINE) atomic_uint_fast64_t open; /* the number of the job to be entered, or CLOSED */
    atomic_int processor;                     /* the caller's */
    int64_t ranges, n, grain;
    Run *run;
    void *context;

    /* What they write. */
    _Alignas(LINE) atomic_int_fast64_t next; /* the first range that no thread has claimed */
    atomic_int inside;   /* threads that have entered, or are looking whether they may */
    atomic_int sleeping; /* threads that wait for a call; written under the lock */

    _Alignas(LINE) atomic_flag busy; /* a caller has the threads */
    uint64_t jobs;
    int started, wanted; /* threads besides the callers: there are, were asked for */
    int calls;           /* sleeping threads that shall get up */
    pthread_mutex_t lock;
    pthread_cond_t called, raised; /* `calls`, the number of threads */
} pool = {.busy = ATOMIC_FLAG_INIT,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .called = PTHREAD_COND_INITIALIZER,
          .raised = PTHREAD_COND_INITIALIZER};

/* ---- how many ---- */

static atomic_int threads; /* 0: undecided */
static int own_processors; /* written inside `once` only */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char warning[128]; /* written inside `once` only */

static int processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* A child process has the memory but not the threads. */
static void forget_threads(void) {
    atomic_store(&pool.open, CLOSED);
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.sleeping, 0);
    atomic_flag_clear(&pool.busy);
    pool.started = pool.wanted = pool.calls = 0;
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.called, NULL);
    pthread_cond_init(&pool.raised, NULL);
}

static void decide(void) {
    const char *value = getenv("UNROLL_THREADS");
    own_processors = processors();
    int n = own_processors < TENSOR_DEFAULT_THREADS ? own_processors : TENSOR_DEFAULT_THREADS;
    pthread_atfork(NULL, NULL, forget_threads);
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
    pthread_mutex_lock(&pool.lock);
    atomic_store(&threads, n);
    pthread_mutex_unlock(&pool.lock);
    pthread_cond_broadcast(&pool.raised);
    return true;
}

const char *tensor_threads_warning(void) {
    pthread_once(&once, decide);
    return *warning ? warning : NULL;
}

/* ---- the threads ---- */

static void claim_ranges(void) {
    const int64_t ranges = pool.ranges, n = pool.n, grain = pool.grain;
    for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < ranges;)
        pool.run(i * grain, i + 1 < ranges ? (i + 1) * grain : n, pool.context);
}

static bool is_surplus(int own) { return own >= tensor_threads(); }

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The number of a job other than the last one, or CLOSED if none comes in time.  A thread that
 * wants the processor gets it; where threads outnumber the processors, there is one. */
static uint64_t look_for_job(uint64_t last) {
    const int64_t end = tensor_threads() <= own_processors ? nanoseconds() + AWAKE_NS : 0;
    do {
        for (int i = 0; i < LOOKS; i++) {
            uint64_t job = atomic_load_explicit(&pool.open, memory_order_relaxed);
            if (job != CLOSED && job != last) return job;
            PAUSE();
        }
        sched_yield();
    } while (nanoseconds() < end);
    return CLOSED;
}

static void sleep_until_called(uint64_t last) {
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.sleeping, 1);
    uint64_t job = atomic_load(&pool.open);
    if (job != CLOSED && job != last) {
        atomic_fetch_sub(&pool.sleeping, 1);
    } else {
        while (pool.calls == 0) pthread_cond_wait(&pool.called, &pool.lock);
        pool.calls--;
    }
    pthread_mutex_unlock(&pool.lock);
}

/* Who is called counts as awake at once: the next job need not call it again, and finds it
 * looking even if this one has been done without it. */
static void call_sleeping(int64_t wanted) {
    if (atomic_load(&pool.sleeping) == 0) return;
    pthread_mutex_lock(&pool.lock);
    int n = atomic_load(&pool.sleeping);
    if (n > wanted) n = (int)wanted;
    atomic_fetch_sub(&pool.sleeping, n);
    pool.calls += n;
    pthread_mutex_unlock(&pool.lock);
    while (n-- > 0) pthread_cond_signal(&pool.called);
}

static void wait_while_surplus(int own) {
    pthread_mutex_lock(&pool.lock);
    while (is_surplus(own)) pthread_cond_wait(&pool.raised, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

/* Where a thread and the caller have got onto one processor, they work in turns: a thread that
 * wakes does, if others are busy at that moment.  The kernel may take 0.2 s to part them. */
static void part_from_caller(void) {
    const int here = sched_getcpu();
    cpu_set_t allowed, others;
    if (here < 0 || here != atomic_load_explicit(&pool.processor, memory_order_relaxed) ||
        sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2)
        return;
    others = allowed;
    CPU_CLR((size_t)here, &others);
    if (sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
}

static void *work(void *index) {
    const int own = (int)(intptr_t)index;
    for (uint64_t last = CLOSED;;) {
        if (is_surplus(own)) wait_while_surplus(own);
        uint64_t job = look_for_job(last);
        if (job == CLOSED) {
            sleep_until_called(last);
            continue;
        }
        part_from_caller();
        atomic_fetch_add(&pool.inside, 1);
        if (atomic_load(&pool.open) == job && !is_surplus(own)) claim_ranges();
        atomic_fetch_sub(&pool.inside, 1);
        last = job;
    }
    return NULL;
}

/* Signals go to the program's own threads.  Where no thread can be started, those that are there
 * do the work. */
static void start(int wanted) {
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
    pool.wanted = wanted; /* a refusal is not asked for again */
}

/* A thread inside that has lost its processor gets the caller's. */
static void wait_for_threads(void) {
    for (int i = 0; atomic_load(&pool.inside) > 0; i++) {
        if (i < LOOKS) PAUSE();
        else sched_yield();
    }
}

static void run_shared(int64_t n, int64_t grain, Run *run, void *context) {
    pool.ranges = (n - 1) / grain + 1;
    pool.n = n;
    pool.grain = grain;
    pool.run = run;
    pool.context = context;
    atomic_store_explicit(&pool.processor, sched_getcpu(), memory_order_relaxed);
    atomic_store(&pool.next, 0);
    atomic_store(&pool.open, ++pool.jobs);
    call_sleeping(pool.ranges - 1);
    claim_ranges();
    atomic_store(&pool.open, CLOSED);
    wait_for_threads();
}

void tensor_parallel(int64_t n, int64_t grain, Run *run, void *context) {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    const int count = tensor_threads();
    if (n > grain && count > 1 && !atomic_flag_test_and_set(&pool.busy)) {
        if (pool.wanted < count - 1) start(count - 1);
        run_shared(n, grain, run, context);
        atomic_flag_clear(&pool.busy);
        return;
    }
    for (int64_t begin = 0; begin < n; begin += grain)
        run(begin, n - begin < grain ? n : begin + grain, context);
}

void tensor_parallel_work(int64_t n, double ns, Run *run, void *context) {
    const double most = (double)n * ns / TENSOR_WORTH_NS;
    int64_t ranges = 1; /* a power of two: few threads get equally many */
    while (ranges < MOST_RANGES && (double)ranges * 2 <= most) ranges *= 2;
    if (ranges > 1) tensor_parallel(n, (n - 1) / ranges + 1, run, context);
    else if (n > 0) run(0, n, context);
}
