/* The header of the serial BLIS, which the distribution keeps in a folder of its
 * own so that it can stand beside the threaded ones. */
#include <blis-serial/blis.h>
