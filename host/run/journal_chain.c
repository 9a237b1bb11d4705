#include "run/journal_chain.h"

#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TIP = 20 + 1 + 2 * RH_STORE_HASH + 1 }; /* "00000000000000000042 HASH\n" */

static void hash_number(struct sha256_ctx *context, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    sha256_update(context, sizeof bytes, bytes);
}

static void hash_text(struct sha256_ctx *context, const char *text, size_t size)
{
    hash_number(context, size); /* so that no two rows give the same bytes */
    sha256_update(context, size, (const uint8_t *)text);
}

void rh_chain_first(const char *run, uint8_t hash[RH_STORE_HASH])
{
    struct sha256_ctx context;
    sha256_init(&context);
    hash_text(&context, run, strlen(run));
    sha256_digest(&context, RH_STORE_HASH, hash);
}

void rh_chain_next(const uint8_t previous[RH_STORE_HASH], const rh_store_row *row,
                   uint8_t hash[RH_STORE_HASH])
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, RH_STORE_HASH, previous);
    hash_number(&context, (uint64_t)row->seq);
    hash_number(&context, (uint64_t)row->epoch);
    hash_number(&context, (uint64_t)row->time_us);
    hash_text(&context, row->type, strlen(row->type));
    hash_text(&context, row->key, strlen(row->key));
    hash_text(&context, row->payload, row->payload_size);
    sha256_digest(&context, RH_STORE_HASH, hash);
}

static int open_tip(const char *run_dir, int flags)
{
    char *path = rh_format("%s/journal.tip", run_dir);
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    free(path);
    return fd;
}

rh_tip rh_tip_read(const char *run_dir)
{
    rh_tip tip = {0};
    char text[TIP + 1] = {0}, *end;
    int fd = open_tip(run_dir, O_RDONLY);
    const ssize_t size = fd < 0 ? 0 : read(fd, text, TIP);
    if (fd >= 0)
        close(fd);
    if (size != TIP || text[TIP - 1] != '\n')
        return tip;
    const long long seq = strtoll(text, &end, 10);
    if (end != text + 20 || *end != ' ' || seq < 1)
        return tip;
    for (int i = 0; i < RH_STORE_HASH; i++) {
        unsigned byte;
        if (sscanf(text + 21 + 2 * i, "%2x", &byte) != 1)
            return tip;
        tip.hash[i] = (uint8_t)byte;
    }
    tip.seq = seq;
    return tip;
}

int rh_tip_open(const char *run_dir, bool shared)
{
    int fd = open_tip(run_dir, O_WRONLY | O_CREAT);
    if (fd >= 0 && shared)
        (void)fchmod(fd, 0660); /* as the journal: whoever may resume the run */
    return fd;
}

void rh_tip_write(int fd, const rh_tip *tip)
{
    static const char digits[] = "0123456789abcdef";
    char text[TIP + 1];
    snprintf(text, sizeof text, "%020lld ", (long long)tip->seq);
    for (int i = 0; i < RH_STORE_HASH; i++) {
        text[21 + 2 * i] = digits[tip->hash[i] >> 4];
        text[22 + 2 * i] = digits[tip->hash[i] & 15];
    }
    text[TIP - 1] = '\n';
    /* An old one is no harm, and none is none; half of one would be of no use. */
    const bool whole = pwrite(fd, text, TIP, 0) == TIP || ftruncate(fd, 0) == 0;
    (void)whole;
}
