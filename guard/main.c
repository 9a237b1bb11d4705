/* rollouthost-guardian RUN_DIR, started by the host (run/guardian.c), with a listening socket as descriptor 3. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int rh_guard_run_dir, rh_guard_spool_dir;

int64_t rh_guard_now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

int64_t rh_guard_now(void) { return rh_guard_now_us() / 1000; }

void rh_guard_die(const char *what)
{
    fprintf(stderr, "rollouthost-guardian: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Nobody but root may read this process's memory, and no core file may hold it. */
static void close_up(void)
{
    struct rlimit core;
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0; /* the soft limit: a command may raise its own */
        setrlimit(RLIMIT_CORE, &core);
    }
}

static int signals(void)
{
    sigset_t set;
    static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE,
                                  SIGUSR1, SIGUSR2, SIGALRM, SIGXFSZ};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_SETMASK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void open_folders(const char *run)
{
    umask(027);
    rh_guard_run_dir = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rh_guard_run_dir < 0)
        rh_guard_die(run);
    const bool made = mkdirat(rh_guard_run_dir, "spool", 0700) == 0;
    if (!made && errno != EEXIST)
        rh_guard_die("spool");
    rh_guard_spool_dir = openat(rh_guard_run_dir, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (chdir("/") < 0) /* no file system is held */
        rh_guard_die("/");
    if (rh_guard_spool_dir < 0 || !rh_guard_ledger_open(made))
        rh_guard_die("spool/ledger");
}

static void read_signals(int fd)
{
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGTERM)
            rh_guard_end_all();
    rh_guard_reap();
}

/* The descriptors of one turn, and whose each is. */
struct turn {
    struct pollfd *fds;
    struct owner {
        rh_guarded *command;
        rh_output *output;
    } * owners;
    size_t count, room;
};

static void watch(struct turn *turn, int fd, short events, rh_guarded *command, rh_output *output)
{
    if (turn->count == turn->room) {
        turn->room = turn->room ? turn->room * 2 : 16;
        turn->fds = rh_realloc(turn->fds, turn->room * sizeof *turn->fds);
        turn->owners = rh_realloc(turn->owners, turn->room * sizeof *turn->owners);
    }
    turn->fds[turn->count] = (struct pollfd){.fd = fd, .events = events};
    turn->owners[turn->count++] = (struct owner){command, output};
}

static void one_turn(struct turn *turn, int signal_fd, int wait)
{
    turn->count = 0;
    watch(turn, signal_fd, POLLIN, NULL, NULL);
    /* A new host waits until everything that the old one had sent is processed. */
    if (rh_guard_host < 0)
        watch(turn, RH_GUARD_LISTENER, POLLIN, NULL, NULL);
    else
        watch(turn, rh_guard_host, (short)(POLLIN | (rh_guard_has_to_send() ? POLLOUT : 0)), NULL,
              NULL);
    for (rh_guarded *command = rh_guard_commands; command; command = command->next) {
        if (command->ended)
            continue;
        if (command->pidfd >= 0)
            watch(turn, command->pidfd, POLLIN, command, NULL);
        if (command->out.fd >= 0)
            watch(turn, command->out.fd, POLLIN, command, &command->out);
        if (command->err.fd >= 0)
            watch(turn, command->err.fd, POLLIN, command, &command->err);
    }
    if (poll(turn->fds, turn->count, wait) <= 0)
        return;
    /* The host first: a secret that it had named is masked in what is read next. */
    if (turn->fds[1].revents) {
        if (rh_guard_host < 0)
            rh_guard_accept();
        else {
            rh_guard_send();
            if (turn->fds[1].revents & ~POLLOUT)
                rh_guard_receive();
        }
    }
    for (size_t i = 2; i < turn->count; i++)
        if (turn->fds[i].revents) {
            if (turn->owners[i].output)
                rh_guard_output_read(turn->owners[i].command, turn->owners[i].output);
            else
                turn->owners[i].command->exited = true;
        }
    if (turn->fds[0].revents)
        read_signals(signal_fd);
}

/* Nobody is left to serve: the host has gone (or said so), no command is alive, no other host knocks. */
static bool is_over(void)
{
    if (rh_guard_any_alive())
        return false;
    bool written = rh_guard_ledger_flush();
    if (rh_guard_ending)
        return rh_guard_host < 0 || !rh_guard_has_to_send();
    if (!written || rh_guard_host >= 0 || rh_guard_connection == 0)
        return false;
    rh_guard_accept();
    return rh_guard_host < 0;
}

int main(int argc, char **argv)
{
    if (argc != 2 || fcntl(RH_GUARD_LISTENER, F_GETFL) < 0) {
        fputs("rollouthost-guardian is started by rollouthost.\n", stderr);
        return 2;
    }
    close_up();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fcntl(RH_GUARD_LISTENER, F_SETFD, FD_CLOEXEC);
    fcntl(RH_GUARD_LISTENER, F_SETFL, O_NONBLOCK);
    open_folders(argv[1]);
    rh_guard_mask = rh_mask_new();
    int signal_fd = signals();
    if (signal_fd < 0)
        rh_guard_die("signalfd");
    struct turn turn = {0};
    /* What is due comes first: it may forget a command, or end the last one. */
    for (int wait = rh_guard_tick(); !is_over(); wait = rh_guard_tick())
        one_turn(&turn, signal_fd, wait);
    free(turn.fds);
    free(turn.owners);
    rh_mask_free(rh_guard_mask);
    return 0;
}
