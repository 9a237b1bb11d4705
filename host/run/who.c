#include "run/who.h"

#include "core/buffer.h"

#include <pwd.h>
#include <sys/utsname.h>

char *rh_who_login(uid_t uid)
{
    const struct passwd *entry = getpwuid(uid);
    return entry && entry->pw_name[0] ? rh_strdup(entry->pw_name)
                                      : rh_format("uid %lu", (unsigned long)uid);
}

char *rh_who_host(void)
{
    struct utsname names;
    return rh_strdup(uname(&names) == 0 && names.nodename[0] ? names.nodename : "unknown");
}
