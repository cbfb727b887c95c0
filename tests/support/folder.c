/* folder.c -- see folder.h. */
#include "tests/support/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FOLDER_SIZE = 256 };

void test_folder_make(char path[TEST_PATH_SIZE], const char *file) {
    char folder[FOLDER_SIZE];
    const char *parent = getenv("TEST_TMPDIR");
    int n = snprintf(folder, sizeof folder, "%s/test_XXXXXX", parent ? parent : "/tmp");
    cr_assert(n < FOLDER_SIZE && mkdtemp(folder), "no folder in %s", parent ? parent : "/tmp");
    n = snprintf(path, TEST_PATH_SIZE, "%s/%s", folder, file);
    cr_assert(n < TEST_PATH_SIZE, "%s is too long", file);
}

void test_folder_of(const char *path, char folder[TEST_PATH_SIZE]) {
    snprintf(folder, TEST_PATH_SIZE, "%s", path);
    *strrchr(folder, '/') = '\0';
}

void test_folder_remove(const char *path) {
    char folder[TEST_PATH_SIZE];
    test_folder_of(path, folder);
    unlink(path);
    rmdir(folder);
}
