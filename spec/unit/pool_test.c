#include "core/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OBJECTS = 500, TURNS = 20000, LONGEST = 700 };

static unsigned next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

static void is_filled(const unsigned char *memory, size_t size, unsigned char with)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(memory[i], with);
}

/* Objects of all sizes come, grow, shrink and go; none ever holds another's bytes. */
static void keeps_what_is_in_it(void **state)
{
    (void)state;
    rh_pool *pool = rh_pool_new();
    unsigned char *objects[OBJECTS] = {NULL};
    size_t sizes[OBJECTS] = {0};
    for (unsigned turn = 0; turn < TURNS; turn++) {
        const unsigned i = next_random() % OBJECTS;
        const size_t size = next_random() % 4 ? next_random() % LONGEST : 0;
        unsigned char *moved = rh_pool_resize(pool, objects[i], sizes[i], size);
        if (size == 0) {
            assert_null(moved);
        } else {
            assert_non_null(moved);
            assert_int_equal((uintptr_t)moved % 16, 0);
            is_filled(moved, sizes[i] < size ? sizes[i] : size, (unsigned char)i);
            memset(moved, (int)(i % 256), size);
        }
        objects[i] = moved;
        sizes[i] = size;
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        is_filled(objects[i], sizes[i], (unsigned char)i);
#ifndef __SANITIZE_ADDRESS__
        if (i % 2 && sizes[i] <= 256)
            continue; /* small ones may be left to the pool's end */
#endif
        rh_pool_resize(pool, objects[i], sizes[i], 0);
    }
    rh_pool_free(pool);
}

#ifndef __SANITIZE_ADDRESS__ /* under which every object is malloc's */
static void uses_a_slot_again(void **state)
{
    (void)state;
    rh_pool *pool = rh_pool_new();
    void *first = rh_pool_resize(pool, NULL, 5 /* Lua says a type here */, 40);
    assert_ptr_equal(rh_pool_resize(pool, first, 40, 48), first);
    rh_pool_resize(pool, first, 48, 0);
    assert_ptr_equal(rh_pool_resize(pool, NULL, 0, 33), first);
    rh_pool_free(pool);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_is_in_it),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(uses_a_slot_again),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
