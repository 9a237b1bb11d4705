#include "show/payload.h"

#include "show/text.h"

#include <stdlib.h>
#include <string.h>

json_t *rh_payload_parse(const char *text)
{
    json_t *payload = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    if (json_is_object(payload))
        return payload;
    json_decref(payload);
    return json_object();
}

const char *rh_payload_text(const json_t *payload, const char *field)
{
    return json_string_value(json_object_get(payload, field));
}

int64_t rh_payload_integer(const json_t *payload, const char *field, int64_t fallback)
{
    const json_t *value = json_object_get(payload, field);
    if (json_is_integer(value))
        return json_integer_value(value);
    return json_is_real(value) ? (int64_t)json_real_value(value) : fallback;
}

bool rh_payload_flag(const json_t *payload, const char *field)
{
    return json_is_true(json_object_get(payload, field));
}

static void show_secret(rh_buffer *out, const json_t *secret)
{
    if (json_is_string(secret)) {
        rh_buffer_addf(out, "‹secret %s›", json_string_value(secret));
        return;
    }
    /* Joined parts: plain text and names of secrets in turn. */
    size_t i;
    json_t *part;
    json_array_foreach(secret, i, part)
    {
        if (json_is_string(part))
            rh_text_clean(out, json_string_value(part), json_string_length(part));
        else if (rh_payload_text(part, "name"))
            rh_buffer_addf(out, "‹secret %s›", rh_payload_text(part, "name"));
        else
            rh_buffer_adds(out, "‹secret›");
    }
}

void rh_payload_show(rh_buffer *out, const json_t *value)
{
    const json_t *secret = json_object_get(value, "$secret");
    if (secret)
        show_secret(out, secret);
    else if (json_is_string(value))
        rh_text_clean(out, json_string_value(value), json_string_length(value));
    else if (json_is_real(value))
        rh_buffer_addf(out, "%.6g", json_real_value(value));
    else if (value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
        if (text)
            rh_text_clean(out, text, strlen(text));
        free(text);
    }
}

char *rh_payload_shown(const json_t *payload, const char *field)
{
    const json_t *value = json_object_get(payload, field);
    if (!value || json_is_null(value))
        return NULL;
    rh_buffer text = {0};
    rh_payload_show(&text, value);
    return rh_buffer_take(&text);
}

char *rh_payload_list(const json_t *array)
{
    rh_buffer text = {0};
    size_t i;
    json_t *one;
    json_array_foreach(array, i, one)
    {
        rh_buffer_adds(&text, i > 0 ? ", " : "");
        rh_payload_show(&text, one);
    }
    return text.size ? rh_buffer_take(&text) : rh_strdup("");
}

char *rh_payload_error(const json_t *payload)
{
    const json_t *error = json_object_get(payload, "error");
    if (!error)
        error = json_object_get(payload, "cause");
    if (json_is_object(error))
        error = json_object_get(error, "message");
    if (!error)
        error = json_object_get(payload, "reason");
    if (!json_is_string(error))
        return NULL;
    rh_buffer text = {0};
    rh_text_clean_lines(&text, json_string_value(error), json_string_length(error));
    return text.size ? rh_buffer_take(&text) : NULL;
}

char *rh_payload_brief(const json_t *payload)
{
    char *text = rh_payload_error(payload);
    char *first = text ? rh_text_first_line(text) : NULL;
    free(text);
    return first;
}

char *rh_payload_who(const json_t *payload)
{
    const json_t *by = json_object_get(payload, "by");
    if (!json_is_object(by))
        return rh_payload_shown(payload, "by");
    char *name = rh_payload_shown(by, "name");
    if (name || !json_object_get(by, "uid"))
        return name;
    return rh_format("uid %lld", (long long)rh_payload_integer(by, "uid", -1));
}

int64_t rh_payload_time(const json_t *payload, const char *field)
{
    return rh_payload_integer(payload, field, 0) * 1000;
}
