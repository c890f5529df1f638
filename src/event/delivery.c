#include "event/delivery.h"

#include <assert.h>
#include <stdint.h>

enum { VERSION = 1, FIXED = 14 };

static void
put16(unsigned char *to, size_t n)
{
    to[0] = (unsigned char)n;
    to[1] = (unsigned char)(n >> 8);
}

static size_t
get16(const unsigned char *from)
{
    return (size_t)from[0] | (size_t)from[1] << 8;
}

int
delivery_encode(struct buf *to, const struct delivery *d)
{
    unsigned char fixed[FIXED] = {VERSION};

    assert(d->hook.len >= 1 && d->hook.len <= DELIVERY_NAME_MAX);
    assert(d->stream.len >= 1 && d->stream.len <= DELIVERY_NAME_MAX);
    assert(d->type.len <= DELIVERY_TYPE_MAX && d->encoding.len <= DELIVERY_TYPE_MAX);
    assert(d->query.len <= DELIVERY_QUERY_MAX && d->body.len <= UINT32_MAX);
    fixed[1] = (unsigned char)(d->include_raw | (unsigned)d->duplicates << 1 |
                               (unsigned)d->structured << 3);
    fixed[2] = (unsigned char)d->hook.len;
    fixed[3] = (unsigned char)d->stream.len;
    put16(fixed + 4, d->type.len);
    put16(fixed + 6, d->encoding.len);
    put16(fixed + 8, d->query.len);
    put16(fixed + 10, d->body.len & 0xffff);
    put16(fixed + 12, d->body.len >> 16);
    buf_add(to, span_make(fixed, FIXED));
    buf_add(to, d->hook);
    buf_add(to, d->stream);
    buf_add(to, d->type);
    buf_add(to, d->encoding);
    buf_add(to, d->query);
    return buf_add(to, d->body);
}

static struct span
take(struct span *rest, size_t n)
{
    struct span s = span_to(*rest, n);

    *rest = span_from(*rest, n);
    return s;
}

int
delivery_decode(struct delivery *d, struct span stored, struct err *err)
{
    const unsigned char *f = (const unsigned char *)stored.at;

    if (stored.len < FIXED || f[0] != VERSION)
        return err_set(err, ERR_INPUT, "not a stored delivery of a version that we know");
    size_t lens[] = {f[2], f[3], get16(f + 4), get16(f + 6), get16(f + 8)};
    static const size_t max[] = {DELIVERY_NAME_MAX, DELIVERY_NAME_MAX, DELIVERY_TYPE_MAX,
                                 DELIVERY_TYPE_MAX, DELIVERY_QUERY_MAX};
    size_t body = get16(f + 10) | get16(f + 12) << 16, sum = FIXED + body;
    bool ok = (f[1] & ~8) <= 5 && lens[0] > 0 && lens[1] > 0;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        sum += lens[i];
        ok = ok && lens[i] <= max[i];
    }
    if (!ok || sum != stored.len)
        return err_set(err, ERR_INPUT, "a stored delivery whose lengths do not add up");
    struct span rest = span_from(stored, FIXED);
    d->include_raw = f[1] & 1;
    d->duplicates = (enum delivery_duplicates)(f[1] >> 1 & 3);
    d->structured = f[1] & 8;
    d->hook = take(&rest, lens[0]);
    d->stream = take(&rest, lens[1]);
    d->type = take(&rest, lens[2]);
    d->encoding = take(&rest, lens[3]);
    d->query = take(&rest, lens[4]);
    d->body = rest;
    return 0;
}
