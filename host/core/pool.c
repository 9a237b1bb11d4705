#include "core/pool.h"

#include "core/buffer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNIT = 16,
    CHUNK = 64 << 10,
#ifdef __SANITIZE_ADDRESS__
    LARGEST = 0, /* every object is malloc's, so that a use after its end is seen */
#else
    LARGEST = 256, /* what is larger is malloc's */
#endif
};

typedef union slot {
    union slot *next;
    char bytes[UNIT];
} slot;

typedef struct chunk {
    struct chunk *next;
    char unused[UNIT - sizeof(struct chunk *)];
    slot slots[CHUNK / UNIT - 1];
} chunk;

struct rh_pool {
    chunk *chunks;                  /* the newest first */
    size_t left;                    /* slots of the newest that were never given out */
    slot *free[LARGEST / UNIT + 1]; /* by the number of units */
};

rh_pool *rh_pool_new(void) { return rh_alloc(sizeof(rh_pool)); }

void rh_pool_free(rh_pool *pool)
{
    for (chunk *next, *each = pool->chunks; each; each = next) {
        next = each->next;
        free(each);
    }
    free(pool);
}

static size_t units_of(size_t size) { return (size + UNIT - 1) / UNIT; }

static void *take(rh_pool *pool, size_t size)
{
    if (size > LARGEST)
        return malloc(size);
    const size_t units = units_of(size);
    slot *found = pool->free[units];
    if (found) {
        pool->free[units] = found->next;
        return found;
    }
    if (pool->left < units) {
        chunk *fresh = malloc(sizeof *fresh);
        if (!fresh)
            return NULL;
        fresh->next = pool->chunks;
        pool->chunks = fresh;
        pool->left = sizeof fresh->slots / sizeof *fresh->slots;
    }
    pool->left -= units;
    return &pool->chunks->slots[pool->left];
}

static void give_back(rh_pool *pool, void *memory, size_t size)
{
    if (size > LARGEST) {
        free(memory);
    } else if (memory && size) {
        slot *freed = memory;
        freed->next = pool->free[units_of(size)];
        pool->free[units_of(size)] = freed;
    }
}

void *rh_pool_resize(rh_pool *pool, void *memory, size_t old, size_t size)
{
    if (!memory)
        old = 0;
    if (size == 0) {
        give_back(pool, memory, old);
        return NULL;
    }
    if (old > LARGEST && size > LARGEST)
        return realloc(memory, size);
    if (old && old <= LARGEST && units_of(old) == units_of(size))
        return memory;
    void *moved = take(pool, size);
    if (!moved)
        return size < old ? memory : NULL; /* a slot that is too large, as good as any */
    if (old)
        memcpy(moved, memory, old < size ? old : size);
    give_back(pool, memory, old);
    return moved;
}
