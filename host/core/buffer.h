/* A growing byte buffer. Zero-initialised is empty; `data` is always NUL-terminated once it is not
 * NULL (the NUL is not counted in `size`). Allocation failure aborts the process: a run that cannot
 * get a few bytes cannot write its journal either, and resumes from it. */
#ifndef RH_CORE_BUFFER_H
#define RH_CORE_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

typedef struct rh_buffer {
    char *data;
    size_t size;
    size_t capacity;
} rh_buffer;

void rh_buffer_reserve(rh_buffer *buffer, size_t more);
void rh_buffer_add(rh_buffer *buffer, const void *bytes, size_t size);
void rh_buffer_adds(rh_buffer *buffer, const char *text);
void rh_buffer_addf(rh_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rh_buffer_vaddf(rh_buffer *buffer, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
/* As a shell would need it, to be typed again: quoted where it must be. */
void rh_buffer_add_word(rh_buffer *buffer, const char *word);
void rh_buffer_clear(rh_buffer *buffer); /* keeps the memory */
void rh_buffer_free(rh_buffer *buffer);  /* wipes and frees: it may have held a secret */
char *rh_buffer_take(rh_buffer *buffer); /* hands the string over (free() it); empty after */

/* The process's allocators: never NULL. */
void *rh_alloc(size_t size); /* zeroed */
void *rh_realloc(void *memory, size_t size);
char *rh_strdup(const char *text);
char *rh_strndup(const char *text, size_t size);
char *rh_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *rh_vformat(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

#endif
