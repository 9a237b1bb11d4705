/* The processes of a command: its group; what descends from it in groups and sessions of its own; and, where
 * a cgroup can be made, also daemons that have cut their descent. */
#include "guard/guard.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct process {
    pid_t pid, parent, group;
    uint64_t start;
    bool related;
};

static bool read_process(pid_t pid, struct process *process)
{
    char path[40], text[1024], state;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    *process = (struct process){.pid = pid};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    /* The name, in parentheses, may hold anything: the fields begin after the last one. */
    const char *at = strrchr(text, ')');
    unsigned long long start;
    if (!at || sscanf(at + 1,
                      " %c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                      "%llu",
                      &state, &process->parent, &process->group, &start) != 4)
        return false;
    process->start = start;
    return state != 'Z' && state != 'X';
}

uint64_t rh_guard_start_time(pid_t pid)
{
    struct process process;
    read_process(pid, &process);
    return process.start;
}

/* ── who belongs to it ────────────────────────────────────────────────────────────────────────── */

static bool is_relative(const rh_guarded *command, pid_t pid, uint64_t start)
{
    for (size_t i = 0; i < command->relative_count; i++)
        if (command->relatives[i].pid == pid && command->relatives[i].start == start)
            return true;
    return false;
}

static void add_relative(rh_guarded *command, pid_t pid, uint64_t start)
{
    if (pid == getpid() || is_relative(command, pid, start))
        return;
    command->relatives =
        rh_realloc(command->relatives, (command->relative_count + 1) * sizeof *command->relatives);
    command->relatives[command->relative_count++] = (rh_relative){pid, start};
}

static size_t all_processes(struct process **list)
{
    size_t count = 0, room = 0;
    DIR *proc = opendir("/proc");
    *list = NULL;
    for (const struct dirent *entry; proc && (entry = readdir(proc));) {
        struct process process;
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !read_process((pid_t)strtol(entry->d_name, NULL, 10), &process))
            continue;
        if (count == room)
            *list = rh_realloc(*list, (room = room ? room * 2 : 256) * sizeof **list);
        (*list)[count++] = process;
    }
    if (proc)
        closedir(proc);
    return count;
}

static void look_into_cgroup(rh_guarded *command)
{
    char line[32];
    char *path = rh_format("%s/cgroup.procs", command->cgroup);
    FILE *file = fopen(path, "re");
    free(path);
    while (file && fgets(line, sizeof line, file)) {
        struct process process;
        if (read_process((pid_t)strtol(line, NULL, 10), &process))
            add_relative(command, process.pid, process.start);
    }
    if (file)
        fclose(file);
}

/* Remembers all of them: a parent that ends first takes the way to its children with it. */
static void find_relatives(rh_guarded *command)
{
    struct process *list;
    size_t count = all_processes(&list);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++) {
            struct process *one = &list[i];
            bool related = (one->pid == command->pid && !command->exited) ||
                           one->group == command->pid || is_relative(command, one->pid, one->start);
            for (size_t k = 0; k < count && !related; k++)
                related = list[k].related && list[k].pid == one->parent;
            if (related && !one->related)
                more = one->related = true;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (list[i].related)
            add_relative(command, list[i].pid, list[i].start);
    free(list);
    if (command->cgroup)
        look_into_cgroup(command);
}

/* ── a cgroup of its own ──────────────────────────────────────────────────────────────────────── */

static bool write_file(const char *folder, const char *name, const char *text)
{
    char *path = rh_format("%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    free(path);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* The folder of this process's cgroup, version 2, if it is there; free() it. */
static char *own_cgroup(void)
{
    char line[4096], mount[1024] = "", type[64], path[1024] = "";
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %1023s %63s", mount, type) == 2 && strcmp(type, "cgroup2") == 0)
            break;
        else
            mount[0] = '\0';
    if (file)
        fclose(file);
    file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "0::%1023[^\n]", path) == 1)
            break;
    if (file)
        fclose(file);
    return *mount && *path ? rh_format("%s%s", mount, strcmp(path, "/") == 0 ? "" : path) : NULL;
}

void rh_guard_family_enclose(rh_guarded *command)
{
    static char *own;
    static bool asked;
    if (!asked) {
        asked = true;
        own = own_cgroup();
    }
    if (!own || command->cgroup)
        return;
    char *folder = rh_format("%s/rollouthost-%d-%d", own, (int)getpid(), (int)command->pid);
    char *kill_file = rh_format("%s/cgroup.kill", folder);
    if (mkdir(folder, 0755) < 0 || access(kill_file, W_OK) < 0) {
        rmdir(folder);
        free(own); /* it will be no other next time */
        own = NULL;
        free(folder);
        free(kill_file);
        return;
    }
    free(kill_file);
    command->cgroup = folder;
    /* What is forked while this goes on is found in the second round. */
    for (size_t known = 0, round = 0; round < 3; round++) {
        find_relatives(command);
        if (command->relative_count == known)
            break;
        for (; known < command->relative_count; known++) {
            char pid[16];
            snprintf(pid, sizeof pid, "%d", (int)command->relatives[known].pid);
            write_file(folder, "cgroup.procs", pid);
        }
    }
}

/* ── signals ──────────────────────────────────────────────────────────────────────────────────── */

void rh_guard_family_signal(rh_guarded *command, int signal)
{
    find_relatives(command);
    if (signal == SIGKILL && command->cgroup)
        write_file(command->cgroup, "cgroup.kill", "1");
    kill(-command->pid, signal);
    for (size_t i = 0; i < command->relative_count; i++) {
        struct process process;
        const rh_relative *relative = &command->relatives[i];
        if (read_process(relative->pid, &process) && process.start == relative->start &&
            process.group != command->pid)
            kill(relative->pid, signal);
    }
}

bool rh_guard_family_alive(const rh_guarded *command)
{
    struct process process;
    if (kill(-command->pid, 0) == 0)
        return true;
    for (size_t i = 0; i < command->relative_count; i++)
        if (read_process(command->relatives[i].pid, &process) &&
            process.start == command->relatives[i].start)
            return true;
    return false;
}

void rh_guard_family_free(rh_guarded *command)
{
    if (command->cgroup)
        rmdir(command->cgroup); /* stays where a daemon stays in it */
    free(command->cgroup);
    free(command->relatives);
    command->cgroup = NULL;
    command->relatives = NULL;
    command->relative_count = 0;
}
