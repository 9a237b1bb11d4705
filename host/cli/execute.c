#include "cli/execute.h"

#include "cli/runs.h"
#include "core/buffer.h"
#include "core/loop.h"
#include "run/state.h"
#include "show/show.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* After SIGTERM (a service manager that stops us will not wait long) the effect in flight has this time. */
enum { TERM_GRACE_MS = 30000 };

enum { INT, TERM, HUP, SIGNALS };

static struct {
    uv_signal_t watch[SIGNALS];
    uv_timer_t grace;
    int level;
} signals;

static void interrupt(int level)
{
    signals.level = level;
    rh_show_notice(level == 1
                       ? "Pausing when the effect in flight has ended. Ctrl-C again cancels it."
                       : "Cancelling the effect in flight, then pausing.");
    rh_run_interrupt(level);
}

static void on_grace(uv_timer_t *timer)
{
    (void)timer;
    if (signals.level < 2)
        interrupt(2);
}

static void on_signal(uv_signal_t *watch, int number)
{
    (void)watch;
    if (number == SIGHUP) {
        rh_show_detach();
        return;
    }
    if (signals.level >= 2)
        return;
    interrupt(signals.level + 1);
    if (number == SIGTERM)
        uv_timer_start(&signals.grace, on_grace, TERM_GRACE_MS, 0);
    uv_unref((uv_handle_t *)&signals.grace);
}

static void watch_signals(void)
{
    static const int numbers[SIGNALS] = {[INT] = SIGINT, [TERM] = SIGTERM, [HUP] = SIGHUP};
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(rh_loop(), &signals.watch[i]);
        uv_signal_start(&signals.watch[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&signals.watch[i]);
    }
    uv_timer_init(rh_loop(), &signals.grace);
}

static void unwatch_signals(void)
{
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&signals.watch[i], NULL);
    uv_close((uv_handle_t *)&signals.grace, NULL);
}

int rh_cli_execute(const rh_args *args, rh_run_request *request)
{
    rh_error error = {0};
    const bool plan = strcmp(request->intent, "plan") == 0;
    rh_show_mode mode;
    if (plan && !rh_show_format_parse(rh_arg(args, "format"), &mode))
        return rh_complainf(RH_EXIT_USAGE,
                            "--format %s: there is no such format. Use text, md or json",
                            rh_arg(args, "format"));
    if (!plan && !rh_show_mode_parse(rh_arg(args, "output"), &mode))
        return rh_complainf(RH_EXIT_USAGE,
                            "--output %s: there is no such mode. Use auto, plain or json",
                            rh_arg(args, "output"));
    /* A plan keeps nothing: it needs no state folder. */
    char *state = request->state || plan ? NULL : rh_cli_state(args, true, &error);
    if (rh_error_is_set(
            &error)) /* an unfit folder can be replaced by another; a full disk cannot */
        return rh_complain(strcmp(error.code, "journal") == 0 ? RH_EXIT_BROKEN : RH_EXIT_USAGE,
                           &error);
    if (state)
        request->state = state;
    request->env_file = rh_arg(args, "env-file");
    request->roles_file = rh_arg(args, "roles");
    request->emergency = rh_arg(args, "emergency");
    request->wait = rh_flag(args, "wait");
    request->yes = rh_flag(args, "yes");
    request->interactive = mode == RH_SHOW_TERMINAL && isatty(STDIN_FILENO) == 1;
    /* A reader that goes away must not end the run. */
    signal(SIGPIPE, SIG_IGN);
    watch_signals();
    char *option = request->state ? rh_state_option(request->state) : NULL;
    rh_show_open(mode, option);
    free(option);
    const int code = rh_run_execute(request, &error);
    /* From here on Ctrl-C ends the process as usual: everything is recorded. */
    unwatch_signals();
    rh_show_close();
    rh_loop_close();
    if (rh_error_is_set(&error))
        rh_complain(code, &error);
    free(state);
    return code;
}

int rh_cli_start(const rh_args *args, const char *intent)
{
    const char *playbook = rh_word(args, 0);
    if (access(playbook, F_OK) != 0)
        return rh_cli_no_playbook(playbook);
    const char **set = rh_arg_all(args, "set");
    int code = RH_EXIT_OK;
    for (const char **one = set; *one && code == RH_EXIT_OK; one++)
        if (!strchr(*one, '=') || **one == '=')
            code = rh_complainf(RH_EXIT_USAGE,
                                "--set %s: it takes NAME=VALUE, as in --set version=v1.4.0", *one);
    if (code == RH_EXIT_OK)
        code = rh_cli_execute(args, &(rh_run_request){
                                        .intent = intent,
                                        .playbook = playbook,
                                        .environment = rh_arg(args, "env"),
                                        .set = set,
                                        .at = rh_arg(args, "at"),
                                    });
    free(set);
    return code;
}
