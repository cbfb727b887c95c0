/* report.h -- results of checks as text, JSON and JUnit XML, and a main function for them.
 *
 * For any test runner.  With the environment's GRADCHECK_REPORT_DIR set, each reported result is
 * written to a file of its own there (runners fork; nothing is shared), SUITE.NAME.json; the
 * program gradcheck_merge makes one report of them:
 *
 *     mkdir out; GRADCHECK_REPORT_DIR=out make test; gradcheck_merge --junit out > gradcheck.xml
 *
 * In SUITE and NAME every byte but ASCII letters, digits, _ and - is %XX, and very long ones end
 * in a hash: other names, other files.  A later result of the same two names takes the place of
 * the earlier one.
 *
 * Texts are UTF-8; in what is written, U+FFFD stands for bytes that are not. */
#ifndef AUTOGRAD_GRADCHECK_REPORT_H
#define AUTOGRAD_GRADCHECK_REPORT_H
#include <stdio.h>

#include "autograd/gradcheck/plain.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One result and whose it is. */
typedef struct {
    const char *suite, *name;
    double seconds;
    GradcheckResult result;
} GradcheckReport;

/* The writers fail (false) where the file does, or memory runs out. */

/* One line: `ok` or `FAILED`, suite/name, the message, and for a failure how to repeat it. */
bool gradcheck_write_text(FILE *file, const GradcheckReport *report);
/* One JSON object in one line: suite, name, seconds, and `result` with every field of the result
 * under its name.  A double is read back as the same bits; numbers that JSON has not are the
 * strings NaN, Infinity and -Infinity; the seed is always a string, the reason its code. */
bool gradcheck_write_json(FILE *file, const GradcheckReport *report);
/* A JSON array of such objects, in order. */
bool gradcheck_write_json_list(FILE *file, int n, const GradcheckReport *reports);
/* Reads what gradcheck_write_json wrote: suite and name go to `names`, which must live as long as
 * the report; what does not fit is cut off.  Fails (false): the file, or not such an object; why
 * (may be NULL) says what is wrong. */
#define GRADCHECK_REPORT_NAME_SIZE 256
bool gradcheck_read_json(const char *path, char names[2][GRADCHECK_REPORT_NAME_SIZE],
                         GradcheckReport *report, char *why, size_t size);
/* A JUnit XML document: one testsuite for each suite, one testcase for each report, in order. */
bool gradcheck_write_junit(FILE *file, int n, const GradcheckReport *reports);
/* Writes the file in GRADCHECK_REPORT_DIR, under a temporary name that is renamed; does nothing
 * where that is not set.  Fails (false; why says what, and may be NULL): the file. */
bool gradcheck_report(const GradcheckReport *report, char *why, size_t size);

/* A named check.  run does one and returns result->ok. */
typedef struct {
    const char *suite, *name;
    bool (*run)(GradcheckResult *result);
} GradcheckCase;

/* Runs a case, fills *report and does what gradcheck_report does; while the case runs, its file
 * says that it did not finish, so that a crash is seen.  Where the case's word and its result
 * differ, it has failed, with GRADCHECK_ERROR and the reason.  Fails (false): the case; or the
 * file, then why (else "") says what. */
bool gradcheck_run_case(const GradcheckCase *c, GradcheckReport *report, char *why, size_t size);

/* A main function for CTest, make and the like:
 *     int main(int argc, char **argv) { return gradcheck_main(argc, argv, cases); }
 * runs all cases (the list ends with name NULL), prints a line for each and how many passed, and
 * reports each as gradcheck_report does.
 *     --list           prints suite/name of every case
 *     --case PATTERN   only those whose suite/name fits the shell pattern; may be repeated
 *     --seed N         (sets GRADCHECK_SEED) the seed of every case whose options have none
 *     --json FILE, --junit FILE   writes all results there as well
 *     --help
 * Returns 0: all passed; 1: a case failed; 2: it was called wrongly, no case fits, or a report
 * could not be written: then one line on stderr says what. */
int gradcheck_main(int argc, char **argv, const GradcheckCase *cases);

#ifdef __cplusplus
}
#endif
#endif
