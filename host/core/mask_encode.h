/* The forms in which a secret's bytes may appear in text: what rh_mask searches for. */
#ifndef RH_CORE_MASK_ENCODE_H
#define RH_CORE_MASK_ENCODE_H

#include <stddef.h>

typedef void (*rh_mask_form)(void *data, const char *bytes, size_t size);

/* Raw, JSON, percent, shell, SQL, CSV, HTML and C escapes, in every dialect that is in use. The same form may
 * be given more than once. */
void rh_mask_text_forms(const char *value, size_t size, rh_mask_form form, void *data);
/* Hex, and base64 in both alphabets: what is certain at each of three offsets in a longer text. Tools break
 * these into lines. */
void rh_mask_binary_forms(const char *value, size_t size, rh_mask_form form, void *data);

#endif
