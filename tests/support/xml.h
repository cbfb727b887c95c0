/* xml.h -- whether a text is well-formed XML, as far as our writers go. */
#ifndef TESTS_SUPPORT_XML_H
#define TESTS_SUPPORT_XML_H

/* NULL, or what is wrong: tags that do not match, attributes without quotes or twice, references
 * that XML does not have, characters it does not allow, text that is not UTF-8, more or less than
 * one root.  Knows no comments, CDATA or document types: they count as wrong. */
const char *xml_wrong(const char *text);

/* How often the piece stands in the text. */
int xml_count(const char *text, const char *piece);

#endif
