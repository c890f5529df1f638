// The paths are AC's own, with its own spelling (taskOutccomes). AC's description contradicts
// itself in places, so of a body only the envelope is known here; the rest is AC's to judge.
// The `message.*` headers of Message_updateById only repeat its body, and are left out.
#include "command/operation.h"

#define HOOKS_ARE_OURS "webhooks are the worker's: plan and apply"

#define PUT(ID, PATH, ENVELOPE, SUMMARY)                                                 \
    .id = ID, .path = PATH, .envelope = ENVELOPE, .summary = SUMMARY

const struct operation operations[] = {
    {PUT("Account_updateAssociation", "accountContacts/{id}", "accountContact",
         "update an account association")},
    {PUT("Account_updateExisting", "accounts/{id}", "account", "update an account")},
    {PUT("Address_updateAddress", "addresses/{id}", "address", "update an address")},
    {PUT("Branding_updateExistingResource", "brandings/{id}", "branding",
         "update a branding")},
    {PUT("Calendar_updateFeed", "calendars/{id}", "calendar", "update a calendar feed")},
    {PUT("Config_updateSettings", "configs/{id}", NULL,
         "update a configuration setting")},
    {PUT("Connection_updateExistingConnection", "connections/{id}", "connection",
         "update a connection")},
    {PUT("Contact_updateContact", "contacts/{id}", "contact", "update a contact")},
    {PUT("Customer_updateResource", "ecomCustomers/{id}", "ecomCustomer",
         "update an e-commerce customer")},
    {PUT("Deal_updateSecondaryContact", "contactDeals/{id}", "contactDeal",
         "update a secondary contact of a deal")},
    {PUT("Deal_updateCustomFieldValue", "dealCustomFieldData/{id}",
         "dealCustomFieldDatum", "update the value of a deal's custom field")},
    {PUT("Deal_updateCustomFieldMeta", "dealCustomFieldMeta/{id}", "dealCustomFieldMetum",
         "update a custom field of deals")},
    {PUT("Deal_updatePipeline", "dealGroups/{id}", "dealGroup", "update a pipeline")},
    {PUT("Deal_updateStage", "dealStages/{id}", "dealStage", "update a stage"),
     .query = "reorder"},
    {PUT("Deal_moveDealsToAnotherStage", "dealStages/{id}/deals", "deal",
         "move all deals of a stage to another"),
     .is_bulk = true},
    {PUT("Deal_updateTaskById", "dealTasks/{id}", "dealTask", "update a task")},
    {PUT("Deal_updateTaskType", "dealTasktypes/{id}", "dealTasktype",
         "update a task type")},
    {PUT("Deal_moveTasksToAnotherTaskType", "dealTasktypes/{id}/dealTasks", "dealTask",
         "move all tasks of a type to another"),
     .is_bulk = true},
    {PUT("Deal_updateExistingDeal", "deals/{id}", "deal", "update a deal")},
    {PUT("Deal_updateNote", "deals/{id}/notes/{noteId}", "note",
         "update a note of a deal")},
    {PUT("Event_toggleStatus", "eventTracking", "eventTracking",
         "turn event tracking on or off")},
    {PUT("Field_updateCustomFieldValue", "accountCustomFieldData/{id}",
         "accountCustomFieldDatum", "update the value of an account's custom field")},
    {PUT("Field_updateCustomFieldMeta", "accountCustomFieldMeta/{id}",
         "accountCustomFieldMetum", "update a custom field of accounts")},
    {PUT("Field_updateCustomValue", "fieldValues/{id}", "fieldValue",
         "update the value of a contact's custom field")},
    {PUT("Field_updateCustomField", "fields/{id}", "field",
         "update a custom field of contacts")},
    {PUT("Field_updateCustomFieldGroup", "groupMembers/{groupId}", "groupMember",
         "update a custom field's group")},
    {PUT("Group_updateGroupById", "groups/{id}", "group", "update a user group")},
    {PUT("Message_updateById", "messages/{id}", "message", "update a message")},
    {PUT("Note_updateNote", "accounts/{id}/notes/{noteid}", "note",
         "update a note of an account")},
    {PUT("Note_updateNoteById", "notes/{id}", "note", "update a note")},
    {PUT("Order_updateOrderResource", "ecomOrders/{id}", "ecomOrder",
         "update an e-commerce order")},
    {PUT("Outcome_updateTaskOutcome", "taskOutccomes/{id}", "taskOutcome",
         "update a task outcome")},
    {PUT("Response_updateSavedResponse", "savedResponses/{id}", "savedResponse",
         "update a saved response")},
    {PUT("Schema_updateSchema", "customObjects/schemas/{schemaId}", "schema",
         "update the schema of a custom object"),
     .query = "showFields", .header = "validateOnly"},
    {PUT("Tag_updateTag", "tags/{id}", "tag", "update a tag")},
    {PUT("Tracking_enableDisableSite", "siteTracking", "siteTracking",
         "turn site tracking on or off")},
    {PUT("User_updateExistingUser", "users/{id}", "user", "update a user")},
    {PUT("Webhook_updateExisting", "webhooks/{id}", "webhook", "update a webhook"),
     .refused = HOOKS_ARE_OURS},
    {0}};

#undef PUT

const struct operation *
operation_find(struct span id)
{
    for (const struct operation *o = operations; o->id; o++)
        if (span_is(id, o->id))
            return o;
    return NULL;
}

// Unreserved in a URL (RFC 3986 2.3).
static bool
is_plain(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.at[i], letter = c | 0x20;
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && c != '.' &&
            c != '_' && c != '~' && c != '-')
            return false;
    }
    return s.len > 0;
}

static bool
is_id(struct span s)
{
    return is_plain(s) && s.len <= OPERATION_ID_MAX && !span_is(s, ".") &&
           !memmem(s.at, s.len, "..", 2);
}

static bool
fits(struct span path, struct span subject)
{
    size_t slashes = 0;

    for (; path.len && subject.len; slashes++) {
        struct span want = span_cut(&path, '/'), have = span_cut(&subject, '/');
        bool ok = want.at[0] == '{' ? is_id(have) : span_equal(want, have);
        if (!ok)
            return false;
    }
    return slashes && !path.len && !subject.len;
}

const struct operation *
operation_match(struct span subject)
{
    if (subject.len > OPERATION_SUBJECT_MAX ||
        (subject.len && subject.at[subject.len - 1] == '/'))
        return NULL;
    for (const struct operation *o = operations; o->id; o++)
        if (fits(span_of(o->path), subject))
            return o;
    return NULL;
}

bool
operation_is_allowed(const struct operation *o, const char *word)
{
    struct span path = span_of(o->path);

    return strcmp(o->id, word) == 0 || span_is(span_cut(&path, '/'), word);
}

int
operation_check_query(const struct operation *o, struct span query, struct err *err)
{
    struct span value = query, name = span_cut(&value, '=');

    if (query.len == 0)
        return 0;
    if (!o->query)
        return err_set(err, ERR_INPUT, "%s takes no query", o->id);
    if (!span_is(name, o->query) || !is_plain(value) || query.len > OPERATION_QUERY_MAX)
        return err_set(err, ERR_INPUT,
                       "%s takes the query %s=VALUE, where VALUE is of letters, digits, "
                       "'.', '_', '~' and '-'",
                       o->id, o->query);
    return 0;
}
