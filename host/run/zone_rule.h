/* The POSIX rule ("EST5EDT,M3.2.0,M11.1.0") that ends a zone file and holds for ever after it. */
#ifndef RH_RUN_ZONE_RULE_H
#define RH_RUN_ZONE_RULE_H

#include "run/zone.h"

typedef struct rh_zone_change {
    char form; /* 'M' month, week, day; 'J' day 1–365 without 29 February; '0' day 0–365 */
    int month, week, day;
    int32_t time; /* seconds after local midnight; may be negative or beyond a day */
} rh_zone_change;

typedef struct rh_zone_rule {
    char standard[RH_ZONE_NAME], summer[RH_ZONE_NAME]; /* summer is "" where there is none */
    int32_t standard_offset, summer_offset;            /* seconds east of UTC */
    rh_zone_change start, end;                         /* of summer time */
} rh_zone_rule;

bool rh_zone_rule_parse(const char *text, rh_zone_rule *rule);
void rh_zone_rule_at(const rh_zone_rule *rule, int64_t when, int32_t *offset,
                     char abbreviation[RH_ZONE_NAME]);

#endif
