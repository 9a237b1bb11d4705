#include "run/journal_index.h"

#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16 * 1024, FIRST_EVENTS = 64 };

struct rh_index_block {
    struct rh_index_block *next;
    size_t used, size;
    char text[];
};

static char *keep_text(rh_index *index, const char *text, size_t size)
{
    struct rh_index_block *block = index->blocks;
    if (!block || block->size - block->used < size + 1) {
        size_t room = size + 1 > BLOCK ? size + 1 : BLOCK;
        block = rh_realloc(NULL, sizeof *block + room);
        *block = (struct rh_index_block){.next = index->blocks, .size = room};
        index->blocks = block;
    }
    char *copy = memcpy(block->text + block->used, text, size);
    copy[size] = '\0';
    block->used += size + 1;
    return copy;
}

/* There are a few dozen types: a list is searched faster than hashed. */
static const char *intern(rh_index *index, const char *type)
{
    for (size_t i = 0; i < index->type_count; i++)
        if (strcmp(index->types[i], type) == 0)
            return index->types[i];
    index->types = rh_realloc(index->types, (index->type_count + 1) * sizeof *index->types);
    return index->types[index->type_count++] = keep_text(index, type, strlen(type));
}

static uint64_t hash(const char *type, const char *key)
{ /* FNV-1a */
    uint64_t h = 14695981039346656037u;
    for (; *type; type++)
        h = (h ^ (unsigned char)*type) * 1099511628211u;
    h *= 1099511628211u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 1099511628211u;
    return h;
}

static uint32_t *slot_of(const rh_index *index, const char *type, const char *key)
{
    size_t mask = index->slot_count - 1;
    for (size_t i = (size_t)hash(type, key) & mask;; i = (i + 1) & mask) {
        uint32_t seq = index->slots[i];
        if (!seq || (strcmp(index->events[seq - 1].key, key) == 0 &&
                     strcmp(index->events[seq - 1].type, type) == 0))
            return &index->slots[i];
    }
}

static void grow_slots(rh_index *index)
{
    uint32_t *old = index->slots;
    size_t count = index->slot_count;
    index->slot_count = count ? count * 2 : 2 * FIRST_EVENTS;
    index->slots = rh_alloc(index->slot_count * sizeof *index->slots);
    for (size_t i = 0; i < count; i++)
        if (old[i])
            *slot_of(index, index->events[old[i] - 1].type, index->events[old[i] - 1].key) = old[i];
    free(old);
}

rh_index_event *rh_index_add(rh_index *index, int64_t time_us, const char *type, const char *key,
                             const char *payload, size_t size, bool keep)
{
    if (index->count == index->capacity) {
        index->capacity = index->capacity ? index->capacity * 2 : FIRST_EVENTS;
        index->events = rh_realloc(index->events, index->capacity * sizeof *index->events);
    }
    if (index->used * 4 >= index->slot_count * 3)
        grow_slots(index);
    rh_index_event *event = &index->events[index->count];
    *event = (rh_index_event){.time_us = time_us, .size = (uint32_t)size};
    event->type = intern(index, type);
    event->key = keep_text(index, key, strlen(key));
    if (size <= RH_INDEX_INLINE) {
        event->payload = keep_text(index, payload, size);
    } else if (keep) {
        event->payload = memcpy(rh_realloc(NULL, size + 1), payload, size);
        event->payload[size] = '\0';
    }
    index->count++;
    uint32_t *slot = slot_of(index, event->type, event->key);
    index->used += *slot == 0;
    *slot = (uint32_t)index->count;
    return event;
}

void rh_index_settle(rh_index_event *event)
{
    if (event->size <= RH_INDEX_INLINE)
        return;
    free(event->payload);
    event->payload = NULL;
}

int64_t rh_index_find(const rh_index *index, const char *type, const char *key)
{
    return index->slot_count ? *slot_of(index, type, key) : 0;
}

void rh_index_free(rh_index *index)
{
    for (size_t i = 0; i < index->count; i++)
        rh_index_settle(&index->events[i]);
    for (struct rh_index_block *block = index->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(index->events);
    free(index->slots);
    free(index->types);
    *index = (rh_index){0};
}
