#include "core/error.h"

#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

bool rh_fail(rh_error *error, const char *code, const char *format, ...)
{
    if (!error || error->code)
        return false;
    va_list args;
    va_start(args, format);
    error->message = rh_vformat(format, args);
    va_end(args);
    error->code = code;
    return false;
}

bool rh_fail_errno(rh_error *error, int err, const char *format, ...)
{
    if (!error || error->code)
        return false;
    va_list args;
    va_start(args, format);
    char *what = rh_vformat(format, args);
    va_end(args);
    error->message = rh_format("%s: %s", what, strerror(err));
    error->code = "io";
    free(what);
    return false;
}

void rh_error_module(rh_error *error, const char *module)
{
    if (!error->module)
        error->module = module;
}

void rh_error_detail(rh_error *error, char *json)
{
    free(error->detail);
    error->detail = json;
}

void rh_error_move(rh_error *to, rh_error *from)
{
    if (to && !to->code)
        *to = *from;
    else {
        free(from->message);
        free(from->detail);
    }
    *from = (rh_error){0};
}

void rh_error_clear(rh_error *error)
{
    free(error->message);
    free(error->detail);
    *error = (rh_error){0};
}
