/* Apart from error.c because the guardian, which shares that file, does not link libuv. */
#include "core/buffer.h"
#include "core/error.h"

#include <stdlib.h>
#include <uv.h>

bool rh_fail_uv(rh_error *error, int status, const char *format, ...)
{
    if (!error || error->code)
        return false;
    va_list args;
    va_start(args, format);
    char *what = rh_vformat(format, args);
    va_end(args);
    rh_fail(error, status == UV_ECANCELED ? "cancelled" : "io", "%s: %s", what,
            uv_strerror(status));
    free(what);
    return false;
}
