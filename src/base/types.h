// The event types known from AC: those its /webhook/events names and five more that its own
// documents and real deliveries show. The list is incomplete by nature: a type that is not in
// it is passed on, and only warned of in the configuration.
#ifndef ACRELAY_BASE_TYPES_H
#define ACRELAY_BASE_TYPES_H

extern const char *const event_types[]; // NULL-ended

#endif
