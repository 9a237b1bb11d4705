#include "run/variables.h"

#include "run/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1024 * 1024 };

/* Parsing. ----------------------------------------------------------------------------------------- */

struct parser {
    const char *file, *at, *end;
    unsigned line;
    rh_error *error;
};

static bool refuse(const struct parser *p, unsigned line, const char *why)
{
    return rh_fail(p->error, "env_file", "%s:%u: %s", p->file, line, why);
}

static bool ended(const struct parser *p) { return p->at >= p->end || *p->at == '\n'; }

static void skip_blanks(struct parser *p)
{
    while (!ended(p) && (*p->at == ' ' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static void skip_line(struct parser *p)
{
    while (!ended(p))
        p->at++;
    if (p->at < p->end)
        p->at++;
    p->line++;
}

static size_t name_length(const struct parser *p)
{
    const char *c = p->at;
    if (c < p->end && (isalpha((unsigned char)*c) || *c == '_'))
        while (c < p->end && (isalnum((unsigned char)*c) || *c == '_' || *c == '.'))
            c++;
    return (size_t)(c - p->at);
}

static void add_escaped(rh_buffer *value, char c)
{
    static const char letters[] = "nrt", meant[] = "\n\r\t";
    const char *found = c ? strchr(letters, c) : NULL;
    if (found) {
        c = meant[found - letters];
    } else if (!c || !strchr("\\\"$", c)) {
        rh_buffer_add(value, "\\", 1);
    }
    rh_buffer_add(value, &c, 1);
}

static bool parse_quoted(struct parser *p, rh_buffer *value)
{
    const char quote = *p->at++;
    const unsigned line = p->line;
    while (p->at < p->end && *p->at != quote) {
        p->line += *p->at == '\n';
        if (*p->at == '\r' && p->at + 1 < p->end && p->at[1] == '\n') {
            p->at++; /* a file with Windows' line ends has the same values */
        } else if (quote == '"' && *p->at == '\\' && p->at + 1 < p->end) {
            p->line += p->at[1] == '\n';
            add_escaped(value, p->at[1]);
            p->at += 2;
        } else {
            rh_buffer_add(value, p->at++, 1);
        }
    }
    if (p->at >= p->end)
        return refuse(p, line, "a quote is opened here and never closed");
    p->at++;
    skip_blanks(p);
    return ended(p) || *p->at == '#' ||
           refuse(p, p->line, "there is text after the closing quote: quote the whole value");
}

static void parse_plain(struct parser *p, rh_buffer *value)
{
    const char *start = p->at;
    while (!ended(p) &&
           !(*p->at == '#' && (p->at == start || p->at[-1] == ' ' || p->at[-1] == '\t')))
        p->at++;
    const char *end = p->at;
    while (end > start && isspace((unsigned char)end[-1]))
        end--;
    rh_buffer_add(value, start, (size_t)(end - start));
}

static bool parse_value(struct parser *p, rh_buffer *value)
{
    skip_blanks(p);
    if (!ended(p) && (*p->at == '"' || *p->at == '\''))
        return parse_quoted(p, value);
    parse_plain(p, value);
    return true;
}

bool rh_variables_parse(const char *file, const char *text, size_t size,
                        void (*fn)(void *data, const char *name, const char *value, size_t size),
                        void *data, rh_error *error)
{
    struct parser p = {file, text, text + size, 1, error};
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        p.at += 3;
    rh_buffer value = {0};
    bool ok = true;
    while (ok && p.at < p.end) {
        skip_blanks(&p);
        if (p.end - p.at > 7 && memcmp(p.at, "export", 6) == 0 &&
            (p.at[6] == ' ' || p.at[6] == '\t')) {
            p.at += 6;
            skip_blanks(&p);
        }
        const size_t length = name_length(&p);
        if (length) {
            char *name = rh_strndup(p.at, length);
            p.at += length;
            skip_blanks(&p);
            rh_buffer_clear(&value);
            rh_buffer_reserve(&value, 0);
            if (ended(&p) || *p.at != '=')
                ok = refuse(&p, p.line, "a name is followed by no \"=\"");
            else
                ok = (p.at++, parse_value(&p, &value));
            if (ok)
                fn(data, name, value.data, value.size);
            free(name);
        } else if (!ended(&p) && *p.at != '#') {
            ok = refuse(&p, p.line, "this is no NAME=value");
        }
        skip_line(&p);
    }
    rh_buffer_free(&value);
    return ok;
}

/* Looking up. -------------------------------------------------------------------------------------- */

struct entry {
    char *name;
    rh_buffer value;
};

struct rh_variables {
    char *file;
    struct entry *entries;
    size_t count;
};

static void add_entry(void *data, const char *name, const char *value, size_t size)
{
    rh_variables *variables = data;
    variables->entries =
        rh_realloc(variables->entries, (variables->count + 1) * sizeof *variables->entries);
    struct entry *entry = &variables->entries[variables->count++];
    *entry = (struct entry){.name = rh_strdup(name)};
    rh_buffer_add(&entry->value, value, size);
}

static bool parse_file(const char *file, void (*fn)(void *, const char *, const char *, size_t),
                       void *data, rh_error *error)
{
    rh_buffer text = {0};
    bool ok = rh_file_read(file, LARGEST, &text, error) &&
              rh_variables_parse(file, text.data, text.size, fn, data, error);
    rh_buffer_free(&text);
    return ok;
}

rh_variables *rh_variables_open(const char *env_file, rh_error *error)
{
    rh_variables *variables = rh_alloc(sizeof *variables);
    if (!env_file)
        return variables;
    variables->file = rh_strdup(env_file);
    if (parse_file(env_file, add_entry, variables, error))
        return variables;
    rh_variables_close(variables);
    return NULL;
}

void rh_variables_close(rh_variables *variables)
{
    if (!variables)
        return;
    for (size_t i = 0; i < variables->count; i++) {
        free(variables->entries[i].name);
        rh_buffer_free(&variables->entries[i].value);
    }
    free(variables->entries);
    free(variables->file);
    free(variables);
}

/* systemd's credentials: a file for each; the line break that an editor leaves is no part of it. */
static bool get_credential(const char *name, rh_buffer *value)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!folder || !*name || *name == '.' || strchr(name, '/'))
        return false;
    char *path = rh_format("%s/%s", folder, name);
    const size_t start = value->size;
    bool ok = rh_file_read(path, LARGEST, value, NULL);
    free(path);
    if (!ok) {
        value->size = start;
        return false;
    }
    if (value->size > start && value->data[value->size - 1] == '\n')
        value->data[--value->size] = '\0';
    return true;
}

bool rh_variables_get(const rh_variables *variables, const char *name, rh_buffer *value,
                      const char **origin)
{
    const char *unused = NULL;
    origin = origin ? origin : &unused;
    const char *text = strchr(name, '=') ? NULL : getenv(name);
    if (text) {
        *origin = "the environment";
        rh_buffer_adds(value, text);
        return true;
    }
    if (get_credential(name, value)) {
        *origin = "$CREDENTIALS_DIRECTORY";
        return true;
    }
    for (size_t i = variables->count; i > 0; i--) { /* the last of a name counts, as in a shell */
        if (strcmp(variables->entries[i - 1].name, name) != 0)
            continue;
        *origin = variables->file;
        rh_buffer_add(value, variables->entries[i - 1].value.data,
                      variables->entries[i - 1].value.size);
        return true;
    }
    return false;
}

struct wanted {
    const char *name;
    rh_buffer *value;
    size_t start;
    bool found;
};

static void take_wanted(void *data, const char *name, const char *value, size_t size)
{
    struct wanted *wanted = data;
    if (strcmp(name, wanted->name) != 0)
        return;
    wanted->value->size = wanted->start;
    rh_buffer_add(wanted->value, value, size);
    wanted->found = true;
}

bool rh_variables_in_file(const char *file, const char *name, rh_buffer *value, rh_error *error)
{
    struct wanted wanted = {name, value, value->size, false};
    return parse_file(file, take_wanted, &wanted, error) && wanted.found;
}
