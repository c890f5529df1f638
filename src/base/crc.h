// CRC-32C (Castagnoli, RFC 3720 section 12.1 and appendix B.4), with the CPU's instruction
// where there is one.
#ifndef ACRELAY_BASE_CRC_H
#define ACRELAY_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

// crc_of continues `crc` over len bytes; start with 0. crc_of(crc_of(0, a), b) is the
// checksum of a followed by b.
uint32_t crc_of(uint32_t crc, const void *bytes, size_t len);

// crc_of_portable is the same without the instruction, for machines that lack it and for
// the test that holds both together.
uint32_t crc_of_portable(uint32_t crc, const void *bytes, size_t len);

#endif
