/* "Did you mean …?": the nearest of a few candidates to a mistyped word. */
#ifndef RH_CORE_SUGGEST_H
#define RH_CORE_SUGGEST_H

/* The candidate (of a NULL-terminated list) that is nearest to `word`, or NULL where none is near enough to
 * be a slip of the fingers: swapped, missing, added and wrong letters count one each, case counts nothing. */
const char *rh_suggest(const char *word, const char *const *candidates);

#endif
