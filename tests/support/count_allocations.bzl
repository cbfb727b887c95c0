"""The linker option that sends allocations through allocations.c."""

COUNT_ALLOCATIONS = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=posix_memalign"]
