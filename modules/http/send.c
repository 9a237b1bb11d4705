/* What is sent: method, body, headers, credentials, signature. */
#include "transfer.h"

#include "multi.h"

#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void rh_http_escape(rh_buffer *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalnum(c) || (c && strchr("-._~", c)))
            rh_buffer_add(out, &text[i], 1);
        else
            rh_buffer_addf(out, "%%%02X", c);
    }
}

static bool header_is_sound(const char *header)
{
    const char *colon = strchr(header, ':');
    if (!colon || colon == header || strpbrk(header, "\r\n"))
        return false;
    for (const char *c = header; c < colon; c++)
        if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-.^_`|~", *c))
            return false;
    return true;
}

static bool add_headers(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error)
{
    bool typed = false;
    for (const char *const *h = spec->headers; h && *h; h++) {
        const char *header = *h;
        if (!header_is_sound(header))
            return rh_fail(error, "header",
                           "%s: header \"%.*s\" has a name or a value that cannot be sent",
                           t->label, (int)strcspn(header, ":\r\n"), header);
        typed |= strncasecmp(header, "content-type:", 13) == 0;
        const char *value = strchr(header, ':') + 1;
        if (value[strspn(value, " \t")] == '\0') { /* libcurl's way to send an empty one */
            char *empty = rh_format("%.*s;", (int)(value - 1 - header), header);
            t->headers = curl_slist_append(t->headers, empty);
            free(empty);
        } else {
            t->headers = curl_slist_append(t->headers, header);
        }
    }
    if (spec->aws)
        return true; /* libcurl would sign what the next two take away */
    if (!typed && spec->parts_count == 0)
        t->headers = curl_slist_append(t->headers, "Content-Type:"); /* none rather than a form's */
    t->headers =
        curl_slist_append(t->headers, "Expect:"); /* costs a second where it is not known */
    return true;
}

static size_t take_from(rh_http_file *file, char *bytes, size_t room)
{
    int64_t count = rh_http_file_take(file, bytes, room);
    return count == RH_HTTP_LATER ? CURL_READFUNC_PAUSE
           : count < 0            ? CURL_READFUNC_ABORT
                                  : (size_t)count;
}

static size_t take(char *bytes, size_t one, size_t room, void *data)
{
    return take_from(((rh_http_transfer *)data)->source, bytes, one * room);
}

/* libcurl sends it once more over a new connection where a kept one was dead. */
static int rewind_source(void *data, curl_off_t offset, int origin)
{
    rh_http_transfer *t = data;
    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    rh_http_file_rewind(t->source);
    return CURL_SEEKFUNC_OK;
}

static void source_ready(void *data)
{
    rh_http_transfer *t = data;
    rh_http_multi_go_on(t->easy);
}

static bool set_file(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error)
{
    t->source =
        rh_http_source(spec->file, spec->file_offset, spec->file_size, source_ready, t, error);
    if (!t->source)
        return false;
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(t->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rh_http_source_size(t->source));
    curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, take);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_SEEKFUNCTION, rewind_source);
    curl_easy_setopt(t->easy, CURLOPT_SEEKDATA, t);
    return true;
}

/* ---- forms ---- */

static size_t take_part(char *bytes, size_t one, size_t room, void *data)
{
    return take_from(((rh_http_part_file *)data)->file, bytes, one * room);
}

static int rewind_part(void *data, curl_off_t offset, int origin)
{
    if (offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    rh_http_file_rewind(((rh_http_part_file *)data)->file);
    return CURL_SEEKFUNC_OK;
}

/* libcurl asks a part that has said "later" only after a pause, and takes no pause where another part's bytes
 * came just before: it is paused here for certain. */
static void part_ready(void *data)
{
    rh_http_transfer *t = data;
    curl_easy_pause(t->easy, CURLPAUSE_SEND);
    rh_http_multi_go_on(t->easy);
}

static bool add_part(rh_http_transfer *t, const rh_http_part *part, rh_error *error)
{
    curl_mimepart *mime = curl_mime_addpart(t->form);
    curl_mime_name(mime, part->name);
    if (part->type)
        curl_mime_type(mime, part->type);
    if (part->text) {
        curl_mime_data(mime, part->text, part->size);
        return true;
    }
    rh_http_part_file *file = &t->part_files[t->part_files_count];
    file->transfer = t;
    file->file = rh_http_source(part->file, 0, -1, part_ready, t, error);
    if (!file->file)
        return false;
    t->part_files_count++;
    curl_mime_filename(mime, part->filename);
    curl_mime_data_cb(mime, rh_http_source_size(file->file), take_part, rewind_part, NULL, file);
    return true;
}

static bool set_form(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error)
{
    t->form = curl_mime_init(t->easy);
    t->part_files = rh_alloc(spec->parts_count * sizeof *t->part_files);
    for (size_t i = 0; i < spec->parts_count; i++)
        if (!add_part(t, &spec->parts[i], error))
            return false;
    curl_easy_setopt(t->easy, CURLOPT_MIMEPOST, t->form);
    return true;
}

static void set_body(rh_http_transfer *t, const rh_http_spec *spec)
{
    rh_buffer_add(&t->upload, spec->body ? spec->body : "", spec->body ? spec->body_size : 0);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->upload.data);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->upload.size);
}

/* ---- input ---- */

static bool is_good(int status) { return status >= 200 && status < 300; }

/* So that no write meets a closed connection: libcurl would then read no more of the answer either. */
static bool has_hung_up(int socket)
{
    struct pollfd asked = {.fd = socket, .events = POLLRDHUP};
    return poll(&asked, 1, 0) > 0 && (asked.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static size_t take_input(char *bytes, size_t one, size_t room, void *data)
{
    rh_http_transfer *t = data;
    const bool body = t->taken < t->upload.size;
    if (!body && !t->answered)
        return CURL_READFUNC_PAUSE;
    const rh_buffer *from = body ? &t->upload : &t->input;
    const size_t at = body ? t->taken : t->taken - t->upload.size;
    size_t size = from->size - at;
    if (!body && (!is_good(t->answered) || has_hung_up(t->socket)))
        return 0;
    if (size == 0) /* what came before is written: it asks for more when it has */
        shutdown(t->socket, SHUT_WR);
    if (size > one * room)
        size = one * room;
    if (size > 0)
        memcpy(bytes, from->data + at, size);
    t->taken += size;
    return size;
}

static int socket_made(void *data, curl_socket_t socket, curlsocktype purpose)
{
    (void)purpose;
    ((rh_http_transfer *)data)->socket = socket;
    return CURL_SOCKOPT_OK;
}

/* libcurl does not end a transfer that is paused when its connection is closed. */
static int look_for_end(void *data, curl_off_t down_whole, curl_off_t down, curl_off_t up_whole,
                        curl_off_t up)
{
    rh_http_transfer *t = data;
    int left = 0;
    (void)down_whole, (void)down, (void)up_whole, (void)up;
    t->hung_up = t->socket >= 0 && !t->answered && has_hung_up(t->socket) &&
                 ioctl(t->socket, FIONREAD, &left) == 0 && left == 0;
    return t->hung_up;
}

static void set_input(rh_http_transfer *t, const rh_http_spec *spec)
{
    char *length = rh_format("Content-Length: %zu", spec->body_size);
    rh_buffer_add(&t->upload, spec->body ? spec->body : "", spec->body_size);
    rh_buffer_add(&t->input, spec->input, spec->input_size);
    t->has_input = true;
    t->socket = -1;
    t->headers = curl_slist_append(t->headers, length);
    t->headers = curl_slist_append(t->headers, "Transfer-Encoding:"); /* as it is, not in chunks */
    free(length);
    curl_easy_setopt(t->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, take_input);
    curl_easy_setopt(t->easy, CURLOPT_READDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_SOCKOPTFUNCTION, socket_made);
    curl_easy_setopt(t->easy, CURLOPT_SOCKOPTDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_XFERINFOFUNCTION, look_for_end);
    curl_easy_setopt(t->easy, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(t->easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
}

void rh_http_input_answered(rh_http_transfer *t, int status)
{
    t->answered = status;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

bool rh_http_input_refused(const rh_http_transfer *t, CURLcode curl)
{
    return t->has_input && is_good(t->answered) && t->taken < t->upload.size + t->input.size &&
           (curl == CURLE_SEND_ERROR || curl == CURLE_RECV_ERROR);
}

static bool set_method(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error)
{
    bool sends = strcmp(spec->method, "POST") == 0 || strcmp(spec->method, "PUT") == 0 ||
                 strcmp(spec->method, "PATCH") == 0;
    if (strcmp(spec->method, "HEAD") == 0)
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    if (spec->file && !set_file(t, spec, error))
        return false;
    if (spec->parts_count > 0 && !set_form(t, spec, error))
        return false;
    if (spec->input)
        set_input(t, spec);
    else if (!spec->file && spec->parts_count == 0 && (spec->body || sends))
        set_body(t, spec);
    curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, spec->method);
    return true;
}

static void add_header(rh_http_transfer *t, const char *name, const char *value)
{
    char *line = rh_format("%s: %s", name, value);
    t->headers = curl_slist_append(t->headers, line);
    free(line);
}

static void set_credentials(rh_http_transfer *t, const rh_http_spec *spec)
{
    CURL *easy = t->easy;
    if (spec->aws) {
        char *scope = rh_format("aws:amz:%s:%s", spec->aws->region, spec->aws->service);
        curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, scope);
        free(scope);
        curl_easy_setopt(easy, CURLOPT_USERNAME, spec->aws->access_key);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, spec->aws->secret_key);
        curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* a key may be "a/../b" */
        if (spec->aws->session_token)
            add_header(t, "x-amz-security-token", spec->aws->session_token);
        t->signs = true;
    } else if (spec->bearer) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, spec->bearer);
    } else if (spec->user) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, spec->user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, spec->password ? spec->password : "");
    }
}

bool rh_http_set_request(rh_http_transfer *t, const rh_http_spec *spec, rh_error *error)
{
    if (!add_headers(t, spec, error) || !set_method(t, spec, error))
        return false;
    set_credentials(t, spec);
    return true;
}

void rh_http_set_headers(rh_http_transfer *t, const char *sha256)
{
    if (t->signs)
        add_header(t, "x-amz-content-sha256", sha256);
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}
