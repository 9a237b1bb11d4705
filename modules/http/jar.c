#include "jar.h"

#include "core/buffer.h"
#include "core/mask.h"

#include <stdlib.h>
#include <string.h>

struct rh_http_jar {
    CURLSH *share;
    unsigned owners;
};

rh_http_jar *rh_http_jar_new(void)
{
    rh_http_jar *jar = rh_alloc(sizeof *jar);
    jar->owners = 1;
    jar->share = curl_share_init();
    if (!jar->share) {
        free(jar);
        return NULL;
    }
    curl_share_setopt(jar->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE);
    return jar;
}

void rh_http_jar_retain(rh_http_jar *jar) { jar->owners++; }

void rh_http_jar_release(rh_http_jar *jar)
{
    if (!jar || --jar->owners > 0)
        return;
    curl_share_cleanup(jar->share);
    free(jar);
}

void rh_http_jar_use(rh_http_jar *jar, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SHARE, jar->share);
    curl_easy_setopt(easy, CURLOPT_COOKIEFILE, ""); /* switches cookies on */
}

/* Session identifiers are long; "lang=en" is no secret, and masking "en" would hide every other word. */
enum { SHORTEST_CREDENTIAL = 16 };

void rh_http_jar_mask(const char *line, size_t size)
{
    const char *end = memchr(line, ';', size), *equals = memchr(line, '=', size);
    end = end ? end : line + size;
    if (!equals || equals > end)
        return;
    while (line < equals && *line == ' ')
        line++;
    const char *value = equals + 1;
    while (value < end && (*value == ' ' || *value == '"'))
        value++;
    while (end > value && strchr(" \"\r\n", end[-1]))
        end--;
    if (end - value < SHORTEST_CREDENTIAL)
        return;
    char *name = rh_format("cookie %.*s", (int)(equals - line), line);
    rh_mask_add(rh_mask_process(), name, value, (size_t)(end - value));
    free(name);
}
