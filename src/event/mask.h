// Masking: what may be shown of a delivery to somebody who need not know whose it is. Masked
// are e-mail addresses and phone numbers wherever they stand, and what its key says to be one,
// a postal or an internet address. They stand in names, notes and bodies that anybody may have
// written, so they are looked for in what the bytes mean: forms are decoded, strings of JSON
// unescaped, JSON inside a value is read as such. What cannot be read is masked whole.
//
// A number of 7 to 15 digits without a separator is a phone number in a text with other words
// ("call 5551234"), where its key says so, and where the account has named the key itself
// (fields). A value that is such a number and nothing else is an id, and stays: masking it
// would hide every contact's, and a phone number there has a key that says so.
//
// A text, a name or an address that none of this finds (a person's name, "ann at example") is
// shown: masking is for looking at a screen and for pasting into a ticket, it is no deletion.
#ifndef ACRELAY_EVENT_MASK_H
#define ACRELAY_EVENT_MASK_H

#include "event/delivery.h"

#define MASK "\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2"

// All append bytes to *to; none fails but by its ceiling. `reveals` leaves only the tokens of
// hooks masked, which nothing shows.
void mask_text(struct buf *to, struct span s, bool reveals);

// mask_value masks a value by its key ("contact[email]") and by itself.
void mask_value(struct buf *to, struct span key, struct span value, bool reveals);

// mask_object masks a JSON object; false, and nothing is added, when it is none.
bool mask_object(struct buf *to, struct span object, bool reveals);

// mask_form masks a form or a query, pair by pair: it stays one.
void mask_form(struct buf *to, struct span form, bool reveals);

// mask_body masks the body of a delivery as what it is read as.
void mask_body(struct buf *to, const struct delivery *d, bool reveals);

#endif
