/* Memory for Lua's many small objects: slots of one size come from a chunk, and are used again for that size.
 * Taking and giving one back costs a fifth of malloc's price, and the end frees chunks instead of objects. */
#ifndef RH_CORE_POOL_H
#define RH_CORE_POOL_H

#include <stddef.h>

typedef struct rh_pool rh_pool;

rh_pool *rh_pool_new(void);
void rh_pool_free(rh_pool *pool); /* and all small objects of it; what is larger must be gone */
/* Makes `memory` (NULL: none yet) of `old` bytes one of `size` bytes (0: gives it back). NULL: no memory is
 * left, and the old one is as it was; making one smaller does not fail. */
void *rh_pool_resize(rh_pool *pool, void *memory, size_t old, size_t size);

#endif
