// CRC-32C (Castagnoli, RFC 3720 section 12.1 and appendix B.4). Thirty lines rather than
// a library: Debian has no small, maintained one. The CPU's instruction (SSE 4.2) does 8
// bytes a step; elsewhere a table does half a byte.
#ifndef ACRELAY_BASE_CRC_H
#define ACRELAY_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// crc_of_portable is crc_of without the instruction, for machines that lack it and for
// the test that holds both together.
static inline uint32_t
crc_of_portable(uint32_t crc, const void *bytes, size_t len)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const unsigned char *at = bytes;

    crc = ~crc;
    for (; len > 0; at++, len--) {
        crc ^= *at;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static inline uint32_t
crc_of_instruction(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    uint64_t c = (uint32_t)~crc;

    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    for (; len > 0; at++, len--)
        c = __builtin_ia32_crc32qi((uint32_t)c, *at);
    return ~(uint32_t)c;
}
#endif

// crc_of continues `crc` over len bytes; start with 0. crc_of(crc_of(0, a), b) is the
// checksum of a followed by b.
static inline uint32_t
crc_of(uint32_t crc, const void *bytes, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc_of_instruction(crc, bytes, len);
#endif
    return crc_of_portable(crc, bytes, len);
}

#endif
