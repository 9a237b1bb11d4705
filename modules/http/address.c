#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct range {
    uint32_t network;
    unsigned bits;
};

static bool is_private_4(uint32_t address)
{
    static const struct range ranges[] = {
        {0x00000000, 8},  /* this network */
        {0x0a000000, 8},  /* private */
        {0x64400000, 10}, /* a carrier's */
        {0x7f000000, 8},  /* loopback */
        {0xa9fe0000, 16}, /* link-local: 169.254.169.254 hands out a cloud's credentials */
        {0xac100000, 12}, /* private */
        {0xc0000000, 24}, /* reserved for protocols */
        {0xc0a80000, 16}, /* private */
        {0xc6120000, 15}, /* benchmarks */
        {0xe0000000, 3},  /* multicast, reserved, broadcast */
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if ((address ^ ranges[i].network) >> (32 - ranges[i].bits) == 0)
            return true;
    return false;
}

static uint32_t word(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return ntohl(value);
}

static bool is_private_6(const uint8_t *bytes)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, zero[16] = {0},
                         nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(bytes, mapped, 12) == 0 || memcmp(bytes, nat64, 12) == 0 ||
        memcmp(bytes, zero, 12) == 0)
        return is_private_4(word(bytes + 12)); /* ::1 and :: are in 0.0.0.0/8 */
    if (bytes[0] == 0x20 && bytes[1] == 0x02)  /* 6to4 */
        return is_private_4(word(bytes + 2));
    return (bytes[0] & 0xfe) == 0xfc || bytes[0] == 0xff || (bytes[0] == 0xfe && bytes[1] & 0x80);
}

bool rh_http_address_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return is_private_4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    return address->sa_family != AF_INET6 ||
           is_private_6(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
}

bool rh_http_text_is_private(const char *text)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, text, &four) == 1)
        return is_private_4(ntohl(four.s_addr));
    return inet_pton(AF_INET6, text, &six) != 1 || is_private_6(six.s6_addr);
}
