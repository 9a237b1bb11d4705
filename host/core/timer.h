/* Waiting for time: task.sleep and task.sleep_until. */
#ifndef RH_CORE_TIMER_H
#define RH_CORE_TIMER_H

#include <lua5.4/lua.h>

int rh_sleep(lua_State *L); /* (ms): monotonic, does not count while the machine is suspended */
int rh_sleep_until(
    lua_State *L); /* (wall ms): exact also when the clock is set or the machine slept */

#endif
