/* Text for people: what may reach a terminal, how wide it is, and how durations, sizes and times read. */
#ifndef RH_SHOW_TEXT_H
#define RH_SHOW_TEXT_H

#include "core/buffer.h"

#include <stdint.h>

/* Appends one line's worth of foreign text: escape sequences, control characters and direction overrides are
 * dropped, bytes that are not UTF-8 become U+FFFD, line breaks and tabs a space. */
void rh_text_clean(rh_buffer *out, const char *text, size_t size);

/* The same of several lines: line breaks stay, empty lines and trailing spaces go. */
void rh_text_clean_lines(rh_buffer *out, const char *text, size_t size);
/* The first line of clean lines, without what announces the rest (":"); free() it. */
char *rh_text_first_line(const char *text);

/* Columns of clean UTF-8 text. */
int rh_text_width(const char *text);
/* Appends at most `columns` columns; what does not fit ends in "…". Returns the columns used. */
int rh_text_fit(rh_buffer *out, const char *text, int columns);
/* Bytes of `text` that fit into `columns`, broken at a space where there is one. For wrapping: print them,
 * skip the spaces that follow, go on. At least one character. */
size_t rh_text_wrap(const char *text, int columns);

void rh_text_duration(rh_buffer *out, int64_t ms); /* "0.4s" "41.0s" "1m 12s" "2h 03m" "3d 4h" */
void rh_text_size(rh_buffer *out, double bytes);   /* "812 B" "1.4 MiB" */
void rh_text_time(rh_buffer *out, int64_t us);     /* local "2026-11-20 22:03:04" */
void rh_text_clock(rh_buffer *out, int64_t us);    /* "22:00", with the date if it is not today */

#endif
