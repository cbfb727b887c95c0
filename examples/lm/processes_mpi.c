/* processes_mpi.c -- the processes of mpirun; see processes.h.
 *
 * Sums are made by this file and not by MPI_SUM, whose order is the implementation's choice.  Each
 * process adds up one part of the numbers, in the order of processes, and gives the result to all:
 * so all have the same bits, and a process sends and receives twice the gradient, however many
 * there are. */
#include "processes.h"

#include <limits.h>
#include <mpi/mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/kernels.h"

enum {
    BUCKET = 1 << 18, /* elements of gradients that are exchanged at once */
    END_SECONDS = 5,  /* how long a process that failed waits for the others */
};

static struct {
    int rank, count;
    MPI_Comm world, ending; /* `ending` is used by nothing that may be under way in the end */
    void *bucket, *parts;   /* BUCKET elements, rounded up to a multiple of count */
} group = {.count = 1, .world = MPI_COMM_NULL, .ending = MPI_COMM_NULL};

static bool passed(int code, TensorError *error) {
    if (code == MPI_SUCCESS) return true;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(code, text, &length);
    return tensor_error_set(error, "MPI: %s", text);
}

/* ---- start and end ---- */

static bool make_group(TensorError *error) {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); /* copies have it, too */
    if (!passed(MPI_Comm_rank(MPI_COMM_WORLD, &group.rank), error) ||
        !passed(MPI_Comm_size(MPI_COMM_WORLD, &group.count), error) ||
        !passed(MPI_Comm_dup(MPI_COMM_WORLD, &group.world), error) ||
        !passed(MPI_Comm_dup(MPI_COMM_WORLD, &group.ending), error))
        return false;
    size_t bytes = ((size_t)BUCKET + (size_t)group.count) * sizeof(double);
    group.bucket = malloc(bytes);
    group.parts = malloc(bytes);
    bool ok = (group.bucket && group.parts) || tensor_error_set(error, "out of memory");
    return lm_processes_agree(ok, error);
}

bool lm_processes_start(int *argc, char ***argv, TensorError *error) {
    int support;
    if (!passed(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &support), error)) return false;
    if (support < MPI_THREAD_FUNNELED)
        return tensor_error_set(error, "MPI: this library allows no threads");
    return make_group(error);
}

/* Whether all processes have come to their end; one that failed does not wait for ever. */
static bool all_end(bool failed) {
    MPI_Request request;
    if (group.ending == MPI_COMM_NULL || MPI_Ibarrier(group.ending, &request) != MPI_SUCCESS)
        return false;
    if (!failed) return MPI_Wait(&request, MPI_STATUS_IGNORE) == MPI_SUCCESS;
    const struct timespec pause = {0, 10000000};
    int done = 0;
    for (int i = 0; i < END_SECONDS * 100 && !done; i++) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        if (!done) nanosleep(&pause, NULL);
    }
    return done;
}

void lm_processes_end(int status) {
    int started, ended;
    if (MPI_Initialized(&started) != MPI_SUCCESS || !started) return;
    if (MPI_Finalized(&ended) != MPI_SUCCESS || ended) return;
    free(group.bucket);
    free(group.parts);
    if (!all_end(status != 0)) MPI_Abort(MPI_COMM_WORLD, status != 0 ? status : 1);
    MPI_Finalize();
}

int lm_process(void) { return group.rank; }
int lm_process_count(void) { return group.count; }

/* ---- sums ---- */

/* The sum over processes of the first n elements of the bucket. */
static bool sum_bucket(TensorDtype dtype, int64_t n, TensorError *error) {
    const MPI_Datatype type = dtype == TENSOR_F32 ? MPI_FLOAT : MPI_DOUBLE;
    const size_t size = tensor_dtype_size(dtype);
    const int part = (int)((n + group.count - 1) / group.count);
    const int64_t length = part;
    memset((char *)group.bucket + (size_t)n * size, 0,
           ((size_t)part * (size_t)group.count - (size_t)n) * size);
    if (!passed(MPI_Alltoall(group.bucket, part, type, group.parts, part, type, group.world),
                error))
        return false;
    Tensor sum = tensor_wrap(group.parts, dtype, 1, &length);
    for (int p = 1; p < group.count; p++) {
        char *from = (char *)group.parts + (size_t)p * (size_t)part * size;
        Tensor x = tensor_wrap(from, dtype, 1, &length);
        tensor_accumulate(&sum, &x);
    }
    return passed(MPI_Allgather(group.parts, part, type, group.bucket, part, type, group.world),
                  error);
}

/* A place in the used rows of gradients. */
typedef struct {
    const NnGrads *grads;
    int param;
    int64_t element;
} Place;

/* Copies what comes from *place on to the bucket, or from it, and moves the place.  Returns how
 * many elements that were: fewer than BUCKET at the end only. */
static int64_t copy(Place *place, bool to_bucket) {
    const int params = nn_params_count(nn_grads_set(place->grads));
    int64_t n = 0;
    for (; place->param < params; place->param++, place->element = 0) {
        Tensor g = nn_grads_at(place->grads, place->param);
        if (tensor_is_nil(&g)) continue;
        const AgRows *rows = nn_grads_rows(place->grads, place->param);
        const size_t size = tensor_dtype_size(g.dtype);
        for (AgSpan s = {0, place->element}; ag_rows_next(rows, &g, tensor_numel(&g), &s);) {
            int64_t most = BUCKET - n, take = s.end - s.begin < most ? s.end - s.begin : most;
            char *own = (char *)g.data + (size_t)s.begin * size;
            char *in_bucket = (char *)group.bucket + (size_t)n * size;
            memcpy(to_bucket ? in_bucket : own, to_bucket ? own : in_bucket, (size_t)take * size);
            n += take;
            place->element = s.begin + take;
            if (n == BUCKET) return n;
        }
    }
    return n;
}

/* The rows that any process uses are used in all. */
static bool join_rows(AgRows *rows, TensorError *error) {
    const size_t words = AG_ROWS_WORDS(rows->n);
    int all = rows->all;
    if (words > INT_MAX) return tensor_error_set(error, "MPI: too many rows");
    if (!passed(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MAX, group.world), error))
        return false;
    rows->all = all;
    return all || passed(MPI_Allreduce(MPI_IN_PLACE, rows->used, (int)words, MPI_UINT64_T,
                                       MPI_BOR, group.world), error);
}

bool lm_processes_sum_grads(NnGrads *grads, TensorError *error) {
    if (group.count == 1) return true;
    const NnParamSet *set = nn_grads_set(grads);
    for (int i = 0; i < nn_params_count(set); i++) {
        AgRows *rows = nn_grads_rows(grads, i);
        if (rows && !join_rows(rows, error)) return false;
    }
    Place from = {grads, 0, 0}, to = from;
    for (int64_t n; (n = copy(&from, true)) > 0;) {
        if (!sum_bucket(nn_params_dtype(set), n, error)) return false;
        copy(&to, false);
    }
    return true;
}

bool lm_processes_sum(int64_t n, double *x, TensorError *error) {
    if (group.count == 1) return true;
    for (int64_t i = 0, part; i < n; i += part) {
        part = n - i < BUCKET ? n - i : BUCKET;
        memcpy(group.bucket, x + i, (size_t)part * sizeof *x);
        if (!sum_bucket(TENSOR_F64, part, error)) return false;
        memcpy(x + i, group.bucket, (size_t)part * sizeof *x);
    }
    return true;
}

/* ---- the rest ---- */

bool lm_processes_broadcast(int64_t n, double *x, TensorError *error) {
    if (n > INT_MAX) return tensor_error_set(error, "MPI: too many numbers to send");
    return group.count == 1 || passed(MPI_Bcast(x, (int)n, MPI_DOUBLE, 0, group.world), error);
}

/* The type of a process's share in the whole: A runs of R C elements, and the next process's share
 * begins R C elements behind this one's. */
static bool share_type(const Tensor *share, MPI_Datatype element, MPI_Datatype *type,
                       TensorError *error) {
    const int run = (int)(share->shape[1] * share->shape[2]);
    const MPI_Aint bytes = (MPI_Aint)run * (MPI_Aint)tensor_dtype_size(share->dtype);
    MPI_Datatype runs;
    if (!passed(MPI_Type_vector((int)share->shape[0], run, run * group.count, element, &runs),
                error))
        return false;
    bool ok = passed(MPI_Type_create_resized(runs, 0, bytes, type), error);
    MPI_Type_free(&runs);
    return ok && passed(MPI_Type_commit(type), error);
}

bool lm_processes_gather(const Tensor *share, const Tensor *all, TensorError *error) {
    const MPI_Datatype element = share->dtype == TENSOR_F32 ? MPI_FLOAT : MPI_DOUBLE;
    if (share->ndim != 3 || tensor_numel(share) > INT_MAX / group.count)
        return tensor_error_set(error, "MPI: a share has not 3 axes, or is too large");
    if (group.count == 1) {
        tensor_convert(all, share);
        return true;
    }
    MPI_Datatype type;
    if (!share_type(share, element, &type, error)) return false;
    bool ok = passed(MPI_Gather(share->data, (int)tensor_numel(share), element,
                                group.rank == 0 ? all->data : NULL, 1, type, 0, group.world),
                     error);
    MPI_Type_free(&type);
    return ok;
}

bool lm_processes_any(bool x) {
    int any = x;
    if (group.count == 1) return x;
    return MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, group.world) != MPI_SUCCESS ||
           any;
}

bool lm_processes_agree(bool ok, TensorError *error) {
    int first = ok ? group.count : group.rank;
    if (group.count == 1) return ok;
    if (!passed(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, group.world), error))
        return false;
    if (first == group.count) return true;
    TensorError why = {"unknown reason"};
    if (error && !ok) why = *error;
    if (!passed(MPI_Bcast(why.message, sizeof why.message, MPI_CHAR, first, group.world), error))
        return false;
    return tensor_error_set(error, "%s", why.message);
}
