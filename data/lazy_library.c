#include "data/lazy_library.h"

#include <dlfcn.h>
#include <string.h>

static bool load(DataLazyLibrary *library, TensorError *error) {
    char *next = library->functions;
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return tensor_error_set(error, "%s", dlerror());
    for (int i = 0; library->names[i]; i++, next += sizeof(void *)) {
        void *function = dlsym(handle, library->names[i]);
        /* It stays loaded: GLib, for one, cannot be taken out again. */
        if (!function) return tensor_error_set(error, "%s", dlerror());
        memcpy(next, &function, sizeof function);
    }
    return true;
}

bool data_lazy_load(DataLazyLibrary *library, TensorError *error) {
    pthread_mutex_lock(&library->lock);
    if (!library->loaded) library->loaded = load(library, error);
    bool loaded = library->loaded;
    pthread_mutex_unlock(&library->lock);
    return loaded;
}
