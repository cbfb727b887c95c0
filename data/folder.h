/* folder.h -- all texts of a folder as one.  Private to data/. */
#ifndef DATA_FOLDER_H
#define DATA_FOLDER_H
#include "data/text.h"

/* Reads the file, as data_text_read does, or, of a folder, the texts below it (corpus.h says
 * which) one behind the other, with a LF between two where there is none.
 * Fails (false, *text is empty): data_text_read's reasons; a folder that cannot be read or has no
 * text. */
bool data_folder_read(const char *path, const DataTextOptions *options, DataText *text,
                      TensorError *error);

#endif
