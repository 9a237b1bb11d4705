#include "show/check.h"

#include "show/payload.h"

#include <stdlib.h>
#include <string.h>

static void show_one(rh_buffer *out, const json_t *one)
{
    const char *text = rh_payload_text(one, "text");
    const char *name = rh_payload_text(one, "name");
    const char *unit = rh_payload_text(one, "unit");
    char *measured = rh_payload_shown(one, "measured"), *limit = rh_payload_shown(one, "limit");
    const size_t start = out->size;
    if (text)
        rh_payload_show(out, json_object_get(one, "text"));
    else if (name || measured) {
        rh_buffer_addf(out, "%s%s%s%s%s", name ? name : "", name && measured ? " " : "",
                       measured ? measured : "", measured && unit ? " " : "",
                       measured && unit ? unit : "");
        if (limit)
            rh_buffer_addf(out, " (limit %s%s%s)", limit, unit ? " " : "", unit ? unit : "");
    }
    char *detail = rh_payload_shown(one, "detail");
    if (!detail)
        detail = rh_payload_shown(one, "evidence");
    if (detail && *detail && (!text || !strstr(text, detail)))
        rh_buffer_addf(out, "%s%s", out->size > start ? ": " : "", detail);
    free(detail);
    free(measured);
    free(limit);
}

void rh_check_show(rh_buffer *out, const json_t *payload)
{
    static const char *const lists[] = {"expectations", "results", "checks"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const json_t *list = json_object_get(payload, lists[i]);
        if (!json_is_array(list) || json_array_size(list) == 0)
            continue;
        size_t index;
        json_t *one;
        json_array_foreach(list, index, one)
        {
            if (index > 0)
                rh_buffer_adds(out, "; ");
            show_one(out, one);
        }
        return;
    }
    show_one(out, payload);
}
