// EMBED takes a file of the source into the program: its bytes are from `name` to `name`_end, where a
// NUL follows. The Makefile makes the object depend on the file.
#ifndef ACRELAY_BASE_EMBED_H
#define ACRELAY_BASE_EMBED_H

#define EMBED(name, path)                                                                \
    __asm__(".section .rodata\n"                                                         \
            ".global " #name "\n"                                                        \
            ".global " #name "_end\n" #name ":\n"                                        \
            ".incbin \"" path "\"\n" #name "_end:\n"                                     \
            ".byte 0\n"                                                                  \
            ".previous\n");                                                              \
    extern const char name[], name##_end[]

#endif
