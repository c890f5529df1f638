#include "base/nearest.h"

#include "base/text.h"

struct nearest
nearest_start(struct span asked)
{
    return (struct nearest){asked, {0}, asked.len < 4 ? 2 : 2 + asked.len / 4};
}

void
nearest_try(struct nearest *n, struct span word)
{
    size_t distance = text_distance(n->asked, word);

    if (distance < n->distance) {
        n->distance = distance;
        n->word = word;
    }
}
