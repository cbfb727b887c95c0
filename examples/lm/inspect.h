/* inspect.h -- what is in a run folder. */
#ifndef EXAMPLES_LM_INSPECT_H
#define EXAMPLES_LM_INSPECT_H
#include <jansson.h>
#include <stdio.h>

#include "tensor/file.h"

/* The run in the folder, for json_decref:
 *
 *     {"run": "book-run",
 *      "parameters": [{"name": "out.bias", "shape": [84], "numel": 84, "share": 0.0004,
 *                      "mean": 0.01, "std": 0.3, "min": -1.2, "max": 2.1, "nan": 0}, ...],
 *      "total": {"numel": 204756, "bytes": 819024, "nan": 0},
 *      "settings": {"hidden": 192, ...},          (all of settings.h)
 *      "changed": ["hidden", ...],                (those that `lm train` has otherwise)
 *      "vocabulary": {"size": 84, "unit": "char", "tokens": 53925, "unk": 0,
 *                     "most_frequent": [{"token": " ", "id": 1, "count": 9031}, ...],
 *                     "rarest": [...]},
 *      "reached": {"epoch": 36, "perplexity": 3.1, "valid_perplexity": 4.2,
 *                  "test_perplexity": null},
 *      "checkpoint": {"epoch": 37, "step": 4100, "done": true},   (null where there is none)
 *      "problem": null}
 *
 * std is that of the elements themselves (divided by their number), and like mean, min and max of
 * those that are no NaN; null where there are none, or for an infinity.  share is of all
 * parameters.  `tokens`: how many of the most frequent, and of the others how many of the rarest.
 * The files are shown as they are: `problem` says why lm_run_load refuses the run, where it does
 * (files of different runs, parameters that are no finite numbers).
 * Fails (NULL): a file is missing or damaged, also the checkpoint if there is one; out of
 * memory. */
json_t *lm_inspect(const char *folder, int64_t tokens, TensorError *error);

/* The same for people, in tables.  What the stream refuses is found by ferror. */
void lm_inspect_write(const json_t *run, FILE *out);

/* lm inspect */
int lm_inspect_command(int argc, char **argv);

#endif
