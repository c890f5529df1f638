// A page is /metrics of a program of ours that runs here.
#ifndef ACRELAY_CONFIG_PAGE_H
#define ACRELAY_CONFIG_PAGE_H

#include "config/config.h"

// page_fetch makes and fills *page, which the caller releases; empty: it does not answer.
void page_fetch(struct buf *page, const struct socket_address *admin);

// page_says_refusing asks /readyz: 503 says that deliveries cannot be made durable now.
bool page_says_refusing(const struct socket_address *admin);

// page_find gives the sum of a metric over its labels, or of one series, named with them as
// they stand in the page: name{hook="a",code="200"}. False when the page has none; page_metric
// gives 0 then.
bool page_find(const struct buf *page, const char *name, double *sum);
double page_metric(const struct buf *page, const char *name);

// page_left is how many posts came for hooks that left the file, and were answered 404.
double page_left(const struct buf *page);

#endif
