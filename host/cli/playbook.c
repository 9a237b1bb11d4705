#include "cli/cli.h"
#include "core/buffer.h"
#include "core/suggest.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 128 };

int rh_cli_no_playbook(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? rh_strndup(path, (size_t)(slash - path + 1)) : rh_strdup("");
    char *names[CANDIDATES] = {NULL};
    size_t count = 0;
    DIR *dir = opendir(*folder ? folder : ".");
    for (struct dirent *entry; dir && count + 1 < CANDIDATES && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".lua") == 0)
            names[count++] = rh_strdup(entry->d_name);
    }
    if (dir)
        closedir(dir);
    const char *near = rh_suggest(slash ? slash + 1 : path, (const char *const *)names);
    const int code =
        near ? rh_complainf(RH_EXIT_USAGE, "%s: no such playbook: did you mean %s%s?", path, folder,
                            near)
        : dir ? rh_complainf(RH_EXIT_USAGE, "%s: no such playbook. Check its name", path)
              : rh_complainf(RH_EXIT_USAGE, "%s: no such playbook: there is no folder %s", path,
                             folder);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(folder);
    return code;
}
