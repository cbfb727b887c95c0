#include "data/download.h"

#include <pthread.h>
#include <string.h>

#define CURL_DISABLE_TYPECHECK /* its macros take the names for functions */
#include <curl/curl.h>
#include <openssl/evp.h>

#include "data/lazy_library.h"

#undef curl_easy_setopt

/* Debian's libcurl needs libcrypto, and so brings it. */
#define FUNCTIONS(F)                                                                           \
    F(curl_global_init) F(curl_easy_init) F(curl_easy_setopt) F(curl_easy_perform)             \
    F(curl_easy_cleanup) F(curl_easy_strerror) F(EVP_MD_CTX_new) F(EVP_MD_CTX_free)            \
    F(EVP_DigestInit_ex) F(EVP_DigestUpdate) F(EVP_DigestFinal_ex) F(EVP_sha256)
static struct {
    FUNCTIONS(DATA_LAZY_FIELD)
} lib;
static const char *const names[] = {FUNCTIONS(DATA_LAZY_NAME) NULL};
static DataLazyLibrary libcurl = DATA_LAZY_LIBRARY("libcurl.so.4", names, &lib);

enum { CONNECT_SECONDS = 30, STALL_SECONDS = 60, STALL_BYTES = 100 /* a second */, REDIRECTS = 5 };

typedef struct {
    const DataDownload *expected;
    TensorFileWriter writer;
    EVP_MD_CTX *digest;
    int64_t bytes; /* so far */
    TensorError *error;
    bool refused; /* by take_bytes, which set the error */
} Transfer;

static size_t take_bytes(char *bytes, size_t one, size_t n, void *context) {
    Transfer *t = context;
    const DataDownload *expected = t->expected;
    t->refused = true;
    if ((int64_t)n > expected->size - t->bytes) {
        tensor_error_set(t->error, "has more than %lld bytes", (long long)expected->size);
        return CURL_WRITEFUNC_ERROR;
    }
    if (!tensor_file_write(&t->writer, bytes, n * one, t->error)) return CURL_WRITEFUNC_ERROR;
    if (lib.EVP_DigestUpdate(t->digest, bytes, n) != 1) {
        tensor_error_set(t->error, "libcrypto failed");
        return CURL_WRITEFUNC_ERROR;
    }
    t->refused = false;
    t->bytes += (int64_t)n;
    if (expected->progress)
        expected->progress(expected->context, expected->name, t->bytes, expected->size);
    return n;
}

static CURLcode set_up(CURL *curl, const char *address, Transfer *t, char *why) {
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_FOLLOWLOCATION, 1},
        {CURLOPT_MAXREDIRS, REDIRECTS},
        {CURLOPT_FAILONERROR, 1},
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS},
        {CURLOPT_LOW_SPEED_TIME, STALL_SECONDS},
        {CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES},
    };
    const struct {
        CURLoption option;
        const char *value;
    } texts[] = {
        {CURLOPT_URL, address},
        {CURLOPT_PROTOCOLS_STR, "https,file"},
        {CURLOPT_REDIR_PROTOCOLS_STR, "https"},
        {CURLOPT_USERAGENT, "unroll"},
    };
    CURLcode code = lib.curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    for (size_t i = 0; code == CURLE_OK && i < sizeof numbers / sizeof *numbers; i++)
        code = lib.curl_easy_setopt(curl, numbers[i].option, numbers[i].value);
    for (size_t i = 0; code == CURLE_OK && i < sizeof texts / sizeof *texts; i++)
        code = lib.curl_easy_setopt(curl, texts[i].option, texts[i].value);
    if (code == CURLE_OK) code = lib.curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    if (code == CURLE_OK) code = lib.curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    return code;
}

static CURLcode curl_ready;
static void start_curl(void) {
    curl_ready = lib.curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool transfer(const char *address, Transfer *t) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char why[CURL_ERROR_SIZE] = "";
    pthread_once(&once, start_curl);
    CURL *curl = curl_ready == CURLE_OK ? lib.curl_easy_init() : NULL;
    if (!curl) return tensor_error_set(t->error, "libcurl cannot start");
    CURLcode code = set_up(curl, address, t, why);
    if (code == CURLE_OK) code = lib.curl_easy_perform(curl);
    lib.curl_easy_cleanup(curl);
    if (t->refused) return false;
    return code == CURLE_OK ||
           tensor_error_set(t->error, "%s", why[0] ? why : lib.curl_easy_strerror(code));
}

static bool check_digest(Transfer *t) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;
    char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    if (lib.EVP_DigestFinal_ex(t->digest, digest, &n) != 1)
        return tensor_error_set(t->error, "libcrypto failed");
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return strcmp(hex, t->expected->sha256) == 0 ||
           tensor_error_set(t->error, "its SHA-256 is %.12s..., not %.12s...", hex,
                            t->expected->sha256);
}

static bool receive(const char *address, Transfer *t) {
    t->digest = lib.EVP_MD_CTX_new();
    if (!t->digest || lib.EVP_DigestInit_ex(t->digest, lib.EVP_sha256(), NULL) != 1)
        return tensor_error_set(t->error, "libcrypto cannot start");
    if (!transfer(address, t)) return false;
    if (t->bytes < t->expected->size)
        return tensor_error_set(t->error, "has %lld bytes, not %lld", (long long)t->bytes,
                                (long long)t->expected->size);
    return check_digest(t);
}

bool data_download(const char *address, const char *path, const DataDownload *expected,
                   TensorError *error) {
    Transfer t = {.expected = expected, .error = error};
    if (!data_lazy_load(&libcurl, error)) return false;
    if (!tensor_file_begin(&t.writer, path, error)) return false;
    bool whole = receive(address, &t);
    lib.EVP_MD_CTX_free(t.digest);
    if (whole) return tensor_file_commit(&t.writer, error);
    tensor_file_abort(&t.writer);
    return false;
}
