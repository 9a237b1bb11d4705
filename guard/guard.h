/* The guardian: one small process a run that starts and owns the run's commands, so that they survive the
 * host, and so that the next host learns how they ended.
 *
 *      host ──socket── connection.c ── command.c ── output.c ── spool files, the step's log
 *                                          │    └─ family.c  who belongs to a command
 *                                      ledger.c ── RUN/spool/ledger
 *
 * One thread, one poll(). Everything it knows of secrets came over the socket and stays in memory. */
#ifndef RH_GUARD_H
#define RH_GUARD_H

#include "core/frame.h"
#include "core/mask.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    RH_GUARD_LISTENER = 3,  /* the descriptor that the host passes */
    RH_GUARD_DRAIN = 1000,  /* ms that a pipe may stay open after its command has ended */
    RH_GUARD_GRACE = 5000,  /* ms between TERM and KILL */
    RH_GUARD_ENCLOSE = 250, /* ms after which it gets a cgroup: short commands do not pay for it */
    RH_GUARD_LIVE = 50,     /* ms that output for display may wait for more */
};

/* One of a command's two streams. */
typedef struct rh_output {
    int fd; /* the pipe, or -1 at its end */
    rh_mask_stream *mask;
    uint64_t raw, kept; /* bytes printed; bytes after masking */
    size_t capture;     /* of kept, how many the spool file keeps: the first half and the last */
    int spool;          /* its own file, or -1 while it is short */
    rh_buffer first;    /* the output, while it is short */
    rh_buffer live;     /* not yet sent for display */
} rh_output;

/* A process of a command: the start time tells it from a later one with the same pid. */
typedef struct rh_relative {
    pid_t pid;
    uint64_t start;
} rh_relative;

typedef struct rh_guarded {
    struct rh_guarded *next;
    char *id;
    uint32_t handle;     /* on the connection below */
    unsigned connection; /* which host asked for it; 0: none that is still there */
    uint32_t stopper;    /* the handle of a STOP that waits for its end, or 0 */
    pid_t pid;
    int pidfd; /* of a process that an earlier guardian started, else -1 */
    bool service;
    bool exited; /* reaped */
    bool ended;  /* its end is in the ledger; kept for those who may still ask */
    bool killed; /* KILL was sent */
    int status;
    int failure;         /* errno of what became RH_EXIT_OUTPUT_LOST */
    unsigned flags;      /* RH_EXIT_… */
    bool shown;          /* some of its output was sent for display */
    int64_t started, ms; /* µs, monotonic; run time */
    int64_t grace;       /* ms */
    int64_t deadline;    /* ms, monotonic; 0: none */
    int64_t kill_at;     /* TERM was sent; 0: it was not */
    int64_t drain_until; /* set when it exited */
    int64_t live_at;     /* when output for display is due; 0: there is none */
    int64_t enclose_at;  /* when it has lived long enough for a cgroup of its own; 0: done */
    char *cgroup;        /* its folder, or NULL */
    rh_relative *relatives;
    size_t relative_count;
    rh_output out, err;
    int64_t shared; /* where its short output begins in the file that all share, or -1 */
    char *log_path;
    int log;
} rh_guarded;

/* main.c */
extern int rh_guard_run_dir, rh_guard_spool_dir;
int64_t rh_guard_now(void); /* ms, monotonic */
int64_t rh_guard_now_us(void);
_Noreturn void rh_guard_die(const char *what); /* only before anything was started */

/* ledger.c: see run/ledger.h for the lines */
bool rh_guard_ledger_open(bool made);        /* made: its folder was, just now, by this process */
bool rh_guard_ledger_start(const char *id);  /* false: errno; nothing may be started then */
void rh_guard_ledger_failed(const char *id); /* it did not start after all */
void rh_guard_ledger_pid(const char *id, pid_t pid);
void rh_guard_ledger_exit(const rh_guarded *command);
bool rh_guard_ledger_flush(void); /* tries again what a full disk refused; true: nothing is left */

/* spawn.c */
typedef struct rh_guard_start {
    const char *id, *cwd, *input_path, *output_path, *log_path;
    const char *input; /* bytes, or NULL */
    size_t input_size;
    int64_t timeout, grace, capture;
    bool service;
    const char **argv, **env; /* NULL-terminated */
} rh_guard_start;
/* Starts the process. On failure returns what to report, with a message in *error, and nothing is left. */
rh_frame_failure rh_guard_spawn(rh_guarded *command, const rh_guard_start *start, rh_buffer *error);

/* output.c */
void rh_guard_output_open(rh_output *output, int fd, size_t capture);
void rh_guard_output_read(rh_guarded *command, rh_output *output); /* what the pipe holds now */
void rh_guard_output_end(rh_guarded *command); /* of both: all of it is on its place */
void rh_guard_output_free(rh_output *output);
bool rh_guard_output_is_short(const rh_guarded *command); /* EXITED carries the whole of it */

/* family.c */
uint64_t rh_guard_start_time(pid_t pid); /* in clock ticks since boot; 0: no such process */
void rh_guard_family_enclose(rh_guarded *command); /* in a cgroup, where one can be made */
void rh_guard_family_signal(rh_guarded *command, int signal);
bool rh_guard_family_alive(const rh_guarded *command);
void rh_guard_family_free(rh_guarded *command);

/* command.c */
extern rh_guarded *rh_guard_commands;
extern bool rh_guard_ending;
rh_guarded *rh_guard_find(const char *id); /* alive, or ended and still kept */
/* Starts a command, or finds it: the answer goes to the connection. */
void rh_guard_command_start(uint32_t handle, const rh_guard_start *start, pid_t pid,
                            uint64_t start_time);
void rh_guard_command_stop(uint32_t handle, const char *id, pid_t pid, uint64_t start_time,
                           int64_t grace);
void rh_guard_command_cancel(uint32_t handle);
void rh_guard_reap(void);
void rh_guard_end_all(void);
bool rh_guard_any_alive(void);
void rh_guard_host_gone(void);
/* Acts on what is due; returns the ms until the next time, -1 if there is none. */
int rh_guard_tick(void);

/* connection.c */
extern int rh_guard_host;            /* the connection's descriptor, or -1 */
extern unsigned rh_guard_connection; /* counts them */
extern rh_mask *rh_guard_mask;
void rh_guard_accept(void);
void rh_guard_receive(void);
void rh_guard_send(void); /* what is queued */
bool rh_guard_has_to_send(void);
bool rh_guard_is_crowded(void); /* the host reads slowly: leave out what is only for display */
void rh_guard_send_started(const rh_guarded *command);
void rh_guard_send_output(const rh_guarded *command, int stream, const rh_buffer *text);
void rh_guard_send_exited(const rh_guarded *command, uint32_t handle);
void rh_guard_send_error(uint32_t handle, rh_frame_failure what, const char *message);

#endif
