#include "core/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { LONGEST = 64 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static bool same(char a, char b) { return tolower((unsigned char)a) == tolower((unsigned char)b); }

/* Optimal string alignment: Levenshtein with the swap of two neighbours as one edit. */
static size_t distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_size; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            const size_t changed = above[j - 1] + (same(a[i - 1], b[j - 1]) ? 0 : 1);
            row[j] = least(changed, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b_size];
}

const char *rh_suggest(const char *word, const char *const *candidates)
{
    const size_t size = strlen(word);
    if (size == 0 || size > LONGEST)
        return NULL;
    const char *nearest = NULL;
    size_t nearest_distance = 0;
    for (; *candidates; candidates++) {
        const size_t other = strlen(*candidates);
        if (other == 0 || other > LONGEST)
            continue;
        const size_t d = distance(word, size, *candidates, other);
        if (!nearest || d < nearest_distance) {
            nearest = *candidates;
            nearest_distance = d;
        }
    }
    /* A third of the letters may be wrong, at least one, and never all of them. */
    const size_t tolerated = size < 3 ? 1 : (size + 1) / 3;
    return nearest && nearest_distance <= tolerated && nearest_distance < size ? nearest : NULL;
}
