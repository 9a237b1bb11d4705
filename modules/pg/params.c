#include "statement.h"

#include <stdlib.h>
#include <string.h>

enum { BYTEA = 17 };

void rh_pg_values_init(rh_pg_values *values, size_t count)
{
    values->texts = rh_alloc((count + 1) * sizeof *values->texts);
    values->lengths = rh_alloc((count + 1) * sizeof *values->lengths);
    values->formats = rh_alloc((count + 1) * sizeof *values->formats);
}

void rh_pg_values_free(rh_pg_values *values)
{
    free(values->texts);
    free(values->lengths);
    free(values->formats);
}

static bool wants_text(unsigned type)
{
    static const unsigned types[] = {0,
                                     25 /* text */,
                                     114 /* json */,
                                     705 /* unknown */,
                                     1042 /* char(n) */,
                                     1043 /* varchar */,
                                     3802 /* jsonb */};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] == type)
            return true;
    return false;
}

void rh_pg_values_fill(rh_pg_values *values, const rh_pg_statement *op, const PGresult *described)
{
    for (size_t i = 0; i < op->param_count; i++) {
        const rh_pg_param *param = &op->params[i];
        unsigned type = described ? PQparamtype(described, (int)i) : 0;
        bool array = param->array && !wants_text(type);
        values->texts[i] = array ? param->array : param->text;
        values->lengths[i] = (int)param->size;
        /* Bytes are sent as they are; a NUL elsewhere is for the server to refuse, not for us to cut at. */
        values->formats[i] = param->text && !array &&
                             (type == BYTEA || memchr(param->text, '\0', param->size) != NULL);
    }
}

bool rh_pg_must_describe(const rh_pg_statement *op)
{
    for (size_t i = 0; i < op->param_count; i++) {
        const rh_pg_param *param = &op->params[i];
        if (param->array)
            return true;
        for (size_t at = 0; param->text && at < param->size; at++)
            if (strchr("\\", param->text[at]) || (unsigned char)param->text[at] >= 0x80)
                return true; /* a backslash, a NUL, no ASCII */
    }
    return op->read;
}
