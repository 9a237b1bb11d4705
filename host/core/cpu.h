/* The CPU budget of Lua between two waits. A count hook alone is not enough: a pattern match never yields to
 * it, and a pcall loop swallows its error. So a CPU timer sets the hook from its signal handler, the hook arms itself
 * again, and a chunk that still does not come back ends the process: the journal is durable, the run resumes. */
#ifndef RH_CORE_CPU_H
#define RH_CORE_CPU_H

#include <lua5.4/lua.h>

/* Budget in ms; 0 switches it off. `fatal` times the budget without coming back ends the process with exit 8. */
void rh_cpu_budget(int ms);
void rh_cpu_begin(lua_State *L); /* around each resume */
void rh_cpu_end(void);
/* Gives a user's own coroutine the count hook: the timer's handler can only reach the task's. */
void rh_cpu_adopt(lua_State *co);

#endif
