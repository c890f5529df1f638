// What doctor looks at outside this machine.
#ifndef ACRELAY_CLI_OUTSIDE_H
#define ACRELAY_CLI_OUTSIDE_H

#include "cli/findings.h"

// outside_account asks ActiveCampaign whether it takes the token, and whether the webhooks are
// as the file says.
void outside_account(struct findings *f);

// outside_public_url posts to a hook that is not there, with a token that is none, as
// ActiveCampaign would: 404 is right, and the running receiver must have seen it.
void outside_public_url(struct findings *f);

#endif
