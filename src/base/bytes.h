// Eight bytes at a time: what a scan of text asks of each byte, asked of a whole word. A
// result is zero when no byte is meant; else at least one is, and the caller looks closer.
#ifndef ACRELAY_BASE_BYTES_H
#define ACRELAY_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

#define BYTES_ALL(c) (UINT64_C(0x0101010101010101) * (c))

static inline uint64_t
bytes_load(const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return word;
}

// bytes_below: a byte is less than n (n at most 0x80). bytes_are: a byte is c.
static inline uint64_t
bytes_below(uint64_t word, unsigned char n)
{
    return (word - BYTES_ALL(n)) & ~word & BYTES_ALL(0x80);
}

static inline uint64_t
bytes_are(uint64_t word, unsigned char c)
{
    return bytes_below(word ^ BYTES_ALL(c), 1);
}

#endif
