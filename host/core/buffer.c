#include "core/buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn static void out_of_memory(void)
{
    fputs("rollouthost: out of memory\n", stderr);
    abort();
}

void rh_buffer_add_word(rh_buffer *out, const char *word)
{
    static const char harmless[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,";
    if (*word && strspn(word, harmless) == strlen(word)) {
        rh_buffer_adds(out, word);
        return;
    }
    rh_buffer_adds(out, "'");
    for (; *word; word++) {
        if (*word == '\'')
            rh_buffer_adds(out, "'\\''");
        else
            rh_buffer_add(out, word, 1);
    }
    rh_buffer_adds(out, "'");
}

void *rh_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        out_of_memory();
    return memory;
}

void *rh_realloc(void *memory, size_t size)
{
    void *moved = realloc(memory, size ? size : 1);
    if (!moved)
        out_of_memory();
    return moved;
}

char *rh_strndup(const char *text, size_t size)
{
    size_t length = strnlen(text, size);
    char *copy = rh_realloc(NULL, length + 1);
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *rh_strdup(const char *text) { return rh_strndup(text, strlen(text)); }

char *rh_vformat(const char *format, va_list args)
{
    char *text;
    if (vasprintf(&text, format, args) < 0)
        out_of_memory();
    return text;
}

char *rh_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = rh_vformat(format, args);
    va_end(args);
    return text;
}

void rh_buffer_reserve(rh_buffer *buffer, size_t more)
{
    if (more < buffer->capacity - buffer->size) /* strictly: the NUL needs its byte */
        return;
    if (more > SIZE_MAX / 2 - buffer->size - 1)
        out_of_memory();
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity < buffer->size + more + 1)
        capacity += capacity / 2;
    buffer->data = rh_realloc(buffer->data, capacity);
    buffer->data[buffer->size] = '\0';
    buffer->capacity = capacity;
}

void rh_buffer_add(rh_buffer *buffer, const void *bytes, size_t size)
{
    rh_buffer_reserve(buffer, size);
    if (size)
        memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void rh_buffer_adds(rh_buffer *buffer, const char *text)
{
    rh_buffer_add(buffer, text, strlen(text));
}

void rh_buffer_vaddf(rh_buffer *buffer, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    rh_buffer_reserve(buffer, 64);
    size_t room = buffer->capacity - buffer->size;
    int length = vsnprintf(buffer->data + buffer->size, room, format, args);
    if (length < 0)
        out_of_memory();
    if ((size_t)length >= room) {
        rh_buffer_reserve(buffer, (size_t)length);
        vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, again);
    }
    va_end(again);
    buffer->size += (size_t)length;
}

void rh_buffer_addf(rh_buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rh_buffer_vaddf(buffer, format, args);
    va_end(args);
}

void rh_buffer_clear(rh_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void rh_buffer_free(rh_buffer *buffer)
{
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->size);
    free(buffer->data);
    *buffer = (rh_buffer){0};
}

char *rh_buffer_take(rh_buffer *buffer)
{
    rh_buffer_reserve(buffer, 0);
    char *text = buffer->data;
    *buffer = (rh_buffer){0};
    return text;
}
