/* lazy_library.h -- shared libraries that are loaded when they are first needed, so that programs
 * which never draw or download start without them.  Private to data/.
 *
 *     #define FUNCTIONS(F) F(curl_easy_init) F(curl_easy_perform)
 *     static struct { FUNCTIONS(DATA_LAZY_FIELD) } curl;
 *     static const char *const names[] = {FUNCTIONS(DATA_LAZY_NAME) NULL};
 *     static DataLazyLibrary library = DATA_LAZY_LIBRARY("libcurl.so.4", names, &curl);
 *     if (!data_lazy_load(&library, &error)) return false;
 *     curl.curl_easy_init() .. */
#ifndef DATA_LAZY_LIBRARY_H
#define DATA_LAZY_LIBRARY_H
#include <pthread.h>
#include <stdbool.h>

#include "tensor/file.h"

#define DATA_LAZY_FIELD(name) __typeof__(name) *name;
#define DATA_LAZY_NAME(name) #name,

typedef struct {
    const char *file;         /* as the dynamic linker looks for it */
    const char *const *names; /* of its functions, or those of libraries that it needs, then NULL */
    void *functions;          /* pointers to functions, in the order of names */
    pthread_mutex_t lock;
    bool loaded;
} DataLazyLibrary;
#define DATA_LAZY_LIBRARY(file, names, functions) \
    {(file), (names), (functions), PTHREAD_MUTEX_INITIALIZER, false}

/* Fills the functions, once; it stays loaded.  Any number of threads may call it.
 * Fails (false): there is no such library, or it has not all functions (the linker's reason). */
bool data_lazy_load(DataLazyLibrary *library, TensorError *error);

#endif
