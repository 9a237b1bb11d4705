/* What a run needs of this machine, each looked at for real. */
#include "cli/cli.h"
#include "cli/runs.h"
#include "core/buffer.h"
#include "core/loop.h"
#include "core/module.h"
#include "run/zone.h"
#include "show/pen.h"
#include "show/text.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <nettle/version.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

typedef enum { FINE, WARN, BAD } verdict;

typedef struct report {
    rh_pen pen;
    int bad;
} report;

__attribute__((format(printf, 4, 5))) static void tell(report *r, verdict v, const char *what,
                                                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = rh_vformat(format, args);
    va_end(args);
    rh_buffer clean = {0}, label = {0};
    rh_text_clean(&clean, text, strlen(text));
    rh_buffer_addf(&label, "%-14s", what);
    rh_pen_paint(&r->pen,
                 v == FINE   ? RH_GREEN
                 : v == WARN ? RH_YELLOW
                             : RH_RED,
                 v == FINE   ? " ✔ "
                 : v == WARN ? " ! "
                             : " ✘ ");
    rh_pen_wrap(&r->pen, 0, label.data, "                 ", RH_PLAIN, clean.data ? clean.data : "",
                6);
    rh_buffer_free(&clean);
    rh_buffer_free(&label);
    free(text);
    if (v == BAD)
        r->bad++;
}

static char *guardian_path(void)
{
    const char *given = getenv("ROLLOUTHOST_GUARDIAN");
    char program[4096];
    const ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size > 0 ? size : 0] = '\0';
    char *slash = strrchr(program, '/');
    char *path =
        given ? rh_strdup(given)
              : rh_format("%.*s/rollouthost-guardian", slash ? (int)(slash - program) : 0, program);
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static void look_at_versions(report *r)
{
    tell(r, FINE, "rollouthost",
         RH_HOST_VERSION " with " LUA_RELEASE ", libuv %s, SQLite %s, jansson %s, nettle %d.%d",
         uv_version_string(), sqlite3_libversion(), jansson_version_str(), nettle_version_major(),
         nettle_version_minor());
    char *guardian = guardian_path();
    if (guardian)
        tell(r, FINE, "guardian", "%s", guardian);
    else
        tell(r, BAD, "guardian",
             "rollouthost-guardian is not beside this program: no command can be "
             "started. Install both, or set ROLLOUTHOST_GUARDIAN");
    free(guardian);
}

/* Loaded as a playbook would load it, in this process. */
static void look_at_module(report *r, const char *folder, const char *file, rh_buffer *fine)
{
    char *path = rh_format("%s/%s", folder, file);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const rh_module_def *def = object ? dlsym(object, "rh_module") : NULL;
    if (!object)
        tell(r, BAD, "module", "%s cannot be loaded: %s", file, dlerror());
    else if (!def || def->abi != RH_MODULE_ABI || strcmp(def->host_version, RH_HOST_VERSION) != 0)
        tell(r, BAD, "module",
             "%s was built for another rollouthost: install the one of this version", file);
    else
        rh_buffer_addf(fine, "%s%s", fine->size ? " " : "", def->name);
    free(path);
}

static void look_at_modules(report *r)
{
    char *folder = rh_module_path("");
    DIR *dir = folder ? opendir(folder) : NULL;
    if (!dir) {
        tell(r, BAD, "modules",
             "there is no folder of modules beside this program. Set ROLLOUTHOST_MODULES");
        free(folder);
        return;
    }
    rh_buffer fine = {0};
    for (struct dirent *entry; (entry = readdir(dir));) {
        const size_t size = strlen(entry->d_name);
        if (size > 3 && strcmp(entry->d_name + size - 3, ".so") == 0)
            look_at_module(r, folder, entry->d_name, &fine);
    }
    closedir(dir);
    tell(r, fine.size ? FINE : BAD, "modules", "%s, in %s", fine.size ? fine.data : "none", folder);
    rh_buffer_free(&fine);
    free(folder);
}

static bool in_path(const char *tool)
{
    const char *path = getenv("PATH");
    char *folders = rh_strdup(path ? path : "/usr/bin:/bin"), *rest = folders;
    bool found = false;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        char *file = rh_format("%s/%s", *folder ? folder : ".", tool);
        found = access(file, X_OK) == 0;
        free(file);
    }
    free(folders);
    return found;
}

static void look_at_tools(report *r)
{
    static const struct {
        const char *names[2];
        const char *needed;
        verdict without;
    } tools[] = {
        {{"bash"}, "shell strings of sh.run", BAD},
        {{"git"}, "rollouts that tag or revert code", WARN},
        {{"mariadb-dump", "mysqldump"}, "backups of MySQL and MariaDB", WARN},
        {{"mariadb", "mysql"}, "restores of MySQL and MariaDB", WARN},
    };
    rh_buffer fine = {0};
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        const char *const *names = tools[i].names;
        const char *found = in_path(names[0])               ? names[0]
                            : names[1] && in_path(names[1]) ? names[1]
                                                            : NULL;
        if (found)
            rh_buffer_addf(&fine, "%s%s", fine.size ? " " : "", found);
        else
            tell(r, tools[i].without, "tool", "%s is not in PATH: needed for %s", names[0],
                 tools[i].needed);
    }
    if (fine.size)
        tell(r, FINE, "tools", "%s", fine.data);
    rh_buffer_free(&fine);
}

/* A durable write as the journal makes it: what each step will cost at least. */
static void look_at_disk(report *r, const char *state)
{
    struct statvfs disk;
    if (statvfs(state, &disk) == 0) {
        const double left = (double)disk.f_bavail * (double)disk.f_frsize;
        rh_buffer size = {0};
        rh_text_size(&size, left);
        tell(r, left < 64e6 ? BAD : left < 1e9 ? WARN : FINE, "disk", "%s free", size.data);
        rh_buffer_free(&size);
    }
    char *path = rh_format("%s/.doctor-%ld", state, (long)getpid());
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const int64_t begun = rh_mono_us();
    const bool durable = fd >= 0 && write(fd, "x", 1) == 1 && fdatasync(fd) == 0;
    const double ms = (double)(rh_mono_us() - begun) / 1000;
    if (durable)
        tell(r, ms > 100 ? WARN : FINE, "durability", "a durable write takes %.2f ms", ms);
    else
        tell(r, BAD, "durability", "cannot write durably in %s: %s", state, strerror(errno));
    if (fd >= 0)
        close(fd);
    unlink(path);
    free(path);
}

static void look_at_state(report *r, const rh_args *args)
{
    rh_error error = {0};
    char *state = rh_cli_state(args, true, &error);
    if (!state) {
        tell(r, BAD, "state", "%s", error.message);
        rh_error_clear(&error);
        return;
    }
    tell(r, FINE, "state", "%s", state);
    look_at_disk(r, state);
    free(state);
}

static void look_at_time(report *r)
{
    struct timex clock = {0};
    const int status = adjtimex(&clock);
    if (status < 0 || status == TIME_ERROR || clock.status & STA_UNSYNC)
        tell(r, WARN, "clock",
             "not synchronised: windows and waits go by a clock that may be wrong");
    else
        tell(r, FINE, "clock", "synchronised");
    rh_error error = {0};
    int32_t offset;
    char name[RH_ZONE_NAME];
    if (rh_zone_offset("America/New_York", rh_wall_ms() / 1000, &offset, name, &error))
        tell(r, FINE, "time zones", "found");
    else
        tell(r, WARN, "time zones", "%s", error.message);
    rh_error_clear(&error);
}

static void look_at_cgroup(report *r)
{
    char line[4096] = "";
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file) && strncmp(line, "0::", 3) != 0)
        line[0] = '\0';
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    char *path = *line ? rh_format("/sys/fs/cgroup%s", line + 3) : NULL;
    if (path && access(path, W_OK) == 0)
        tell(r, FINE, "cgroup", "writable: a cancelled command takes all of its children with it");
    else
        tell(r, WARN, "cgroup",
             "not writable: a child that leaves its command's process group survives a cancel");
    free(path);
}

static int run(const rh_args *args)
{
    rh_buffer out = {0};
    report r = {.pen = rh_pen_for(STDOUT_FILENO, &out)};
    look_at_versions(&r);
    look_at_modules(&r);
    look_at_tools(&r);
    look_at_state(&r, args);
    look_at_time(&r);
    look_at_cgroup(&r);
    fwrite(out.data, 1, out.size, stdout);
    rh_buffer_free(&out);
    return r.bad ? RH_EXIT_STOPPED : RH_EXIT_OK;
}

const rh_command_def rh_command_doctor = {
    .name = "doctor",
    .summary = "is everything here that runs need? 1 if something is missing",
    .usage = "",
    .run = run,
};
