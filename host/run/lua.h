/* `rollouthost lua FILE …`: a Lua 5.4 with all of its libraries and with rollout.*, for specs and editors. Effects are
 * done at once: there is no run, no journal and no plan. */
#ifndef RH_RUN_LUA_H
#define RH_RUN_LUA_H

/* argv[0] is the file ("-": standard input), the rest becomes `arg`. Returns the exit code: 1 after an error,
 * which is printed. */
int rh_lua_main(int argc, char **argv);

#endif
