/* Which addresses are no public ones: this machine, its networks, a cloud's metadata service. */
#ifndef RH_MODULES_HTTP_ADDRESS_H
#define RH_MODULES_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Loopback, private, link-local, carrier's, multicast and reserved addresses, also as IPv6 wraps them. What is
 * neither IPv4 nor IPv6 (a unix socket) is not public either. */
bool rh_http_address_is_private(const struct sockaddr *address);
/* The same of a text such as "10.0.0.1" or "fe80::1"; true where it is none. */
bool rh_http_text_is_private(const char *text);

#endif
