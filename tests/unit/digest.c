#include "edge/digest.h"

#include "base/text.h"

#include <criterion/criterion.h>

static void
hex_is(const unsigned char sum[DIGEST_BYTES], const char *expected)
{
    char hex[DIGEST_TEXT];

    text_hex(hex, sizeof hex, sum, DIGEST_BYTES);
    cr_expect_str_eq(hex, expected);
}

// FIPS 180-2, appendix B.1 and B.2, and the sum of nothing.
Test(digest, gives_the_sums_of_the_standard)
{
    unsigned char sum[DIGEST_BYTES];

    digest_of(&SPAN("abc"), 1, sum);
    hex_is(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_of(&SPAN("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), 1, sum);
    hex_is(sum, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    digest_of(&(struct span){NULL, 0}, 1, sum);
    hex_is(sum, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

Test(digest, of_pieces_is_the_digest_of_the_whole)
{
    unsigned char whole[DIGEST_BYTES], pieces[DIGEST_BYTES];

    digest_of(&SPAN("abc"), 1, whole);
    digest_of((struct span[]){SPAN("a"), SPAN(""), SPAN("bc")}, 3, pieces);
    cr_expect(digest_equal(whole, pieces, DIGEST_BYTES));
}

// RFC 4231, test cases 2 and 6 (a key longer than a block).
Test(digest, hmac_gives_the_sums_of_the_rfc)
{
    unsigned char sum[DIGEST_BYTES];
    char key[131];

    digest_hmac(SPAN("Jefe"), SPAN("what do ya want for nothing?"), sum);
    hex_is(sum, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    digest_hmac(span_make(key, sizeof key),
                SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), sum);
    hex_is(sum, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

Test(digest, equal_looks_at_every_byte)
{
    unsigned char a[DIGEST_BYTES] = {0}, b[DIGEST_BYTES] = {0};

    cr_expect(digest_equal(a, b, DIGEST_BYTES));
    for (int i = 0; i < DIGEST_BYTES; i++) {
        b[i] = 1;
        cr_expect_not(digest_equal(a, b, DIGEST_BYTES), "byte %d", i);
        b[i] = 0;
    }
}
