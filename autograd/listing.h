/* listing.h -- how variables are called and chosen where a tape is written out. */
#ifndef AUTOGRAD_LISTING_H
#define AUTOGRAD_LISTING_H
#include "autograd/tape.h"

typedef struct {
    const AgTape *t;
    bool *used;     /* by a recorded call */
    bool *repeated; /* its name stands for another node too */
} AgListing;

/* False: out of memory; nothing needs closing then. */
bool ag_listing_open(AgListing *l, const AgTape *t);
void ag_listing_close(AgListing *l);
/* False for constants that have no part in anything. */
bool ag_listing_shows(const AgListing *l, uint32_t id);
/* The name it was given, with its number if another has the same; or OP#NUMBER.  One line; n is
 * AG_LISTING_NAME, and longer names are cut. */
const char *ag_listing_name(const AgListing *l, uint32_t id, char *buf, size_t n);
enum { AG_LISTING_NAME = 128 };

#endif
