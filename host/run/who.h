/* Who and where, as the system says it. Strings are free()d by the caller. */
#ifndef RH_RUN_WHO_H
#define RH_RUN_WHO_H

#include <sys/types.h>

char *rh_who_login(uid_t uid); /* the login name, or "uid 1234" */
char *rh_who_host(void);

#endif
