/* folder.h -- a folder of its own for each test that writes a file. */
#ifndef TESTS_SUPPORT_FOLDER_H
#define TESTS_SUPPORT_FOLDER_H

enum { TEST_PATH_SIZE = 300 };

/* For a suite's .init: makes the folder and writes the path of `file` in it to path.  Fails the
 * test where it cannot. */
void test_folder_make(char path[TEST_PATH_SIZE], const char *file);
/* The folder that path is in. */
void test_folder_of(const char *path, char folder[TEST_PATH_SIZE]);
/* For its .fini: removes the file, where there is one, and the folder. */
void test_folder_remove(const char *path);

#endif
