/* Time zones from the system's zone files (TZif, RFC 8536). glibc takes an unknown name for UTC without a
 * word; here it is an error. */
#ifndef RH_RUN_ZONE_H
#define RH_RUN_ZONE_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { RH_ZONE_NAME = 16 };

/* The offset from UTC in seconds (east is positive) that holds in the zone `name` at `when` (seconds since
 * 1970), and its abbreviation ("EST"). `name` is a name like "America/New_York", or NULL for the machine's own
 * zone ($TZ where it names a zone file, else /etc/localtime, else UTC). Files are searched in $TZDIR, else
 * /usr/share/zoneinfo. Errors: "zone": no such zone, no zone files, a damaged file. */
bool rh_zone_offset(const char *name, int64_t when, int32_t *offset,
                    char abbreviation[RH_ZONE_NAME], rh_error *error);

#endif
