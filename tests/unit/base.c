// The words of the house: spans, bufs, text, crc, clock, files, errors.
#include "base/buf.h"
#include "base/clock.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "program/output.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

Test(span, cuts_at_the_first_byte_and_leaves_the_rest)
{
    struct span rest = SPAN("a&b&c");

    cr_assert(span_is(span_cut(&rest, '&'), "a"));
    cr_assert(span_is(rest, "b&c"));
    cr_assert(span_is(span_cut(&rest, '='), "b&c"));
    cr_assert_eq(rest.len, 0);
}

Test(span, trims_blanks_and_compares_names_without_case)
{
    cr_assert(span_is(span_trim(SPAN(" \t x y\t")), "x y"));
    cr_assert(span_is_nocase(SPAN("Content-LENGTH"), "content-length"));
    cr_assert_not(span_is_nocase(SPAN("content-lengt"), "content-length"));
}

Test(buf, grows_to_its_ceiling_and_not_beyond)
{
    struct buf b;

    buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(buf_add_byte(&b, 'x'), 0);
    cr_assert_eq(buf_add_byte(&b, 'x'), -1);
    cr_assert(b.full);
    cr_assert_eq(strlen(buf_text(&b)), 1000);
    buf_clear(&b);
    cr_assert_eq(buf_add_format(&b, "%d-%s", 7, "a"), 0);
    cr_assert_str_eq(buf_text(&b), "7-a");
    buf_release(&b);
    buf_release(&b);
}

Test(buf, stays_full_after_a_piece_that_did_not_fit)
{
    struct buf b;

    buf_init(&b, 4);
    cr_assert_eq(buf_add_text(&b, "12345"), -1);
    cr_assert_eq(buf_add_text(&b, "1"), -1);
    cr_assert_eq(b.len, 0);
    buf_release(&b);
}

static void
expect_escaped(struct span raw, const char *wanted)
{
    char to[64];

    cr_assert_eq(text_escape(to, sizeof to, raw), strlen(wanted));
    cr_assert_str_eq(to, wanted);
}

Test(text, escapes_what_could_break_a_log_line)
{
    expect_escaped(SPAN("plain \"text\""), "plain \"text\"");
    expect_escaped(SPAN("a\nb\r\x1b[31m\x7f"), "a\\x0ab\\x0d\\x1b[31m\\x7f");
    expect_escaped(SPAN("gr\xc3\xb6\xc3\x9f"), "gr\xc3\xb6\xc3\x9f");
    expect_escaped(SPAN("\xff\xc3"), "\\xff\\xc3");
    expect_escaped(SPAN("\xe2\x80\xae"), "\\xe2\\x80\\xae"); // right-to-left override
    expect_escaped(SPAN("\xc2\x9b"), "\\xc2\\x9b");          // CSI of one byte
    expect_escaped(SPAN("\xe2\x80\x8f\xd8\x9c"), "\\xe2\\x80\\x8f\\xd8\\x9c"); // marks
    expect_escaped(SPAN("\xef\xbb\xbf"), "\\xef\\xbb\\xbf");
    expect_escaped(span_make("a\0b", 3), "a\\x00b");
}

Test(text, quotes_for_json)
{
    char to[64];

    cr_assert_eq(text_quote(to, sizeof to, SPAN("a \"b\" \\ \n")), 16);
    cr_assert_str_eq(to, "a \\\"b\\\" \\\\ \\\\x0a");
}

Test(text, escape_cuts_with_dots_and_never_writes_past_the_end)
{
    for (size_t size = 1; size < 24; size++) {
        char to[32];
        memset(to, '#', sizeof to);
        size_t len = text_escape(to, size, SPAN("aaaaaaaa\n\xc3\xb6zzzz"));
        cr_assert_lt(len, size);
        cr_assert_eq(to[len], '\0');
        cr_assert_eq(to[size], '#');
        cr_assert(text_is_utf8(span_make(to, len)));
        if (size >= 4 && size < 19)
            cr_assert_str_eq(to + len - 3, "...");
    }
}

Test(text, reads_utf8_as_rfc_3629_says)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"a", 1},
        {"\xc2\x80", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xc0\x80", 0},
        {"\xed\xa0\x80", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xe0\x80\x80", 0},
        {"\x80", 0},
        {"\xc3", 0},
        {"\xf5\x80\x80\x80", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t code;
        cr_assert_eq(text_utf8(span_of(cases[i].bytes), &code), cases[i].len, "case %zu",
                     i);
    }
}

Test(err, a_long_text_with_context_is_cut_between_characters)
{
    char long_text[501] = "";
    struct err err;

    for (size_t at = 0; at + 2 < sizeof long_text; at += 2)
        memcpy(long_text + at, "\xc3\xbc", 3);
    for (int i = 0; i < 2; i++) {
        err_set(&err, ERR_INPUT, "%s%s", i ? "x" : "", long_text);
        err_context(&err, "a file");
        cr_assert(text_is_utf8(span_of(err.text)), "%s", err.text);
    }
}

Test(text, writes_the_utf8_it_reads)
{
    static const uint32_t codes[] = {0,     0x7f,   0x80,    0x7ff,
                                     0x800, 0xffff, 0x10000, 0x10ffff};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char bytes[4];
        uint32_t code = 1;
        size_t len = (size_t)(text_put_utf8(bytes, codes[i]) - bytes);
        cr_assert_eq(text_utf8(span_make(bytes, len), &code), len);
        cr_assert_eq(code, codes[i]);
    }
}

Test(text, writes_hex_and_base64url)
{
    char to[64];
    unsigned char back[3];

    text_hex(to, sizeof to, "\x00\xab\xff", 3);
    cr_assert_str_eq(to, "00abff");
    cr_assert(text_unhex(back, 3, span_of(to)));
    cr_assert_eq(memcmp(back, "\x00\xab\xff", 3), 0);
    cr_assert_not(text_unhex(back, 3, SPAN("00abfg")));
    text_base64(to, sizeof to, "\xfb\xff\xfe", 3, true);
    cr_assert_str_eq(to, "-__-");
    text_base64(to, sizeof to, "fooba", 5, true);
    cr_assert_str_eq(to, "Zm9vYmE");
}

Test(text, reads_numbers_strictly)
{
    uint64_t n;

    cr_assert(text_number(&n, SPAN("18446744073709551615"), UINT64_MAX));
    cr_assert_eq(n, UINT64_MAX);
    cr_assert_not(text_number(&n, SPAN("18446744073709551616"), UINT64_MAX));
    cr_assert_not(text_number(&n, SPAN("101"), 100));
    cr_assert_not(text_number(&n, SPAN("7"), 5));
    cr_assert_not(text_number(&n, SPAN("+1"), 100));
    cr_assert_not(text_number(&n, SPAN(""), 100));
}

Test(text, finds_the_nearest_word)
{
    struct nearest near = nearest_start(SPAN("lisen"));

    nearest_try(&near, SPAN("liste"));
    nearest_try(&near, SPAN("listen"));
    nearest_try(&near, SPAN("secret"));
    cr_assert(span_is(near.word, "listen"));
    cr_assert_eq(near.distance, 1);
}

Test(text, speaks_of_sizes_and_times)
{
    char to[32];

    text_bytes(to, sizeof to, 512);
    cr_assert_str_eq(to, "512 B");
    text_bytes(to, sizeof to, 1536 << 10);
    cr_assert_str_eq(to, "1.5 MiB");
    text_duration(to, sizeof to, 250);
    cr_assert_str_eq(to, "250 ms");
    text_duration(to, sizeof to, 5400000);
    cr_assert_str_eq(to, "1.5 h");
}

Test(crc, gives_the_values_of_rfc_3720)
{
    unsigned char bytes[32];

    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(crc_of(0, bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    cr_assert_eq(crc_of(0, bytes, sizeof bytes), 0x62a8ab43u);
    for (unsigned char i = 0; i < 32; i++)
        bytes[i] = i;
    cr_assert_eq(crc_of(0, bytes, sizeof bytes), 0x46dd794eu);
}

Test(crc, is_the_same_by_table_and_by_instruction_in_pieces)
{
    unsigned char bytes[257];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31);
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        uint32_t pieces = crc_of(crc_of(0, bytes, cut), bytes + cut, sizeof bytes - cut);
        cr_assert_eq(pieces, crc_of_portable(0, bytes, sizeof bytes));
    }
}

// What a line looks like when $JOURNAL_STREAM is that and stderr goes to a file.
static char
first_of_a_line(const char *stream)
{
    char first = 0, name[] = "/tmp/acrelay-unit-log-XXXXXX", text[64];
    int file = mkstemp(name), kept = dup(2);
    struct stat st;

    cr_assert_geq(file, 0);
    cr_assert_eq(fstat(file, &st), 0);
    snprintf(text, sizeof text, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", stream ? stream : text, 1);
    dup2(file, 2);
    log_start(LOG_FORM_AUTO, LOG_LEVEL_INFO);
    log_info("a line");
    dup2(kept, 2);
    close(kept);
    cr_assert_eq(pread(file, &first, 1, 0), 1);
    close(file);
    unlink(name);
    return first;
}

Test(log, is_written_for_the_journal_only_where_stderr_is_the_journal)
{
    cr_expect_eq(first_of_a_line(NULL), '<');
    cr_expect_neq(first_of_a_line("1:2"), '<');
    cr_expect_neq(first_of_a_line(""), '<');
}

static char directory[] = "/tmp/acrelay-unit-XXXXXX";
static char path[64];

static void
make_directory(void)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/secret", directory);
}

static void
remove_directory(void)
{
    unlink(path);
    rmdir(directory);
}

TestSuite(file, .init = make_directory, .fini = remove_directory);

Test(file, replaces_a_file_whole)
{
    struct err err;
    struct buf b;

    buf_init(&b, 100);
    cr_assert_eq(file_replace(path, SPAN("one"), &err), 0);
    cr_assert_eq(file_replace(path, SPAN("two"), &err), 0);
    cr_assert_eq(file_read(path, &b, &err), 0);
    cr_assert(span_is(buf_span(&b), "two"));
    buf_release(&b);
}

Test(file, refuses_a_file_over_the_ceiling)
{
    struct err err;
    struct buf b;

    buf_init(&b, 2);
    cr_assert_eq(file_replace(path, SPAN("two"), &err), 0);
    cr_assert_eq(file_read(path, &b, &err), -1);
    cr_assert_eq(err.kind, ERR_INPUT);
    buf_release(&b);
}

Test(filesystem, is_classed_by_what_it_does_with_a_sync)
{
    cr_assert_eq(filesystem_of_type(0xef53), FILESYSTEM_LOCAL); // ext4
    cr_assert_eq(filesystem_of_type(0x6969), FILESYSTEM_NETWORK);
    cr_assert_eq(filesystem_of_type(0xff534d42), FILESYSTEM_NETWORK);
    cr_assert_eq(filesystem_of_type(0x01021994), FILESYSTEM_MEMORY);
    cr_assert_eq(filesystem_of_type(0x858458f6), FILESYSTEM_MEMORY);
    // f_type is signed on some machines
    cr_assert_eq(filesystem_of_type((unsigned long)(int)0x858458f6), FILESYSTEM_MEMORY);
    cr_assert_eq(filesystem_of_type(0x794c7630), FILESYSTEM_OVERLAY);
    cr_assert(filesystem_is_refused(FILESYSTEM_MEMORY));
    cr_assert(filesystem_is_refused(FILESYSTEM_NETWORK));
    cr_assert_not(filesystem_is_refused(FILESYSTEM_OVERLAY));
}

Test(filesystem, of_a_path_to_be_made_is_that_of_the_directory_above)
{
    cr_assert_eq(filesystem_of("/var/tmp/not/there"), filesystem_of("/var/tmp"));
    cr_assert_eq(filesystem_of("not/there"), filesystem_of("."));
    if (access("/dev/shm", F_OK) == 0)
        cr_assert_eq(filesystem_of("/dev/shm/not/there"), filesystem_of("/dev/shm"));
}

Test(err, escapes_what_came_from_outside_and_takes_context)
{
    struct err err;

    cr_assert_eq(err_set(&err, ERR_INPUT, "bad name '%s'", "a\nb"), -1);
    cr_assert_str_eq(err.text, "bad name 'a\\x0ab'");
    err_context(&err, "%s:%d", "file", 7);
    cr_assert_str_eq(err.text, "file:7: bad name 'a\\x0ab'");
    cr_assert_eq(err.kind, ERR_INPUT);
}
