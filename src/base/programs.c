#include "base/programs.h"

#define END                                                                              \
    {                                                                                    \
        NULL, NULL, NULL, OPTION_FLAG, NULL                                              \
    }
#define FLAG(name, sentence)                                                             \
    {                                                                                    \
        name, NULL, sentence, OPTION_FLAG, NULL                                          \
    }
#define NUMBER(name, sentence)                                                           \
    {                                                                                    \
        name, "N", sentence, OPTION_NUMBER, NULL                                         \
    }

#define EXIT_CODES                                                                       \
    "Exit codes: 0 ok, 1 failure, 2 changes pending or damage found, 64 usage,\n"        \
    "69 service unavailable, 71 port in use, 73 directory not writable, 75 lock held,\n" \
    "77 permission, 78 configuration.\n"

// --- acrelayd -------------------------------------------------------------------------

static const struct option receiver_options[] = {
    FLAG("check", "read the configuration and the secrets, and end"),
    {"state-dir", "DIR",
     "where the last good configuration is kept; else $STATE_DIRECTORY", OPTION_FILE,
     NULL},
    FLAG("force",
         "allow a journal on a network or memory file system, or in others' reach"),
    END,
};

const struct program program_acrelayd = {
    .name = "acrelayd",
    .sentence =
        "Takes ActiveCampaign's webhook posts, keeps them durable, and relays them "
        "to Redis\nStreams.",
    .options = receiver_options,
    .more =
        "SIGHUP reads configuration and secrets anew, all or nothing. SIGTERM answers "
        "what was\nadmitted and ends.\n\n" EXIT_CODES,
};

// --- acrelay-worker -------------------------------------------------------------------

static const struct option plan_options[] = {
    FLAG("detailed-exitcode", "exit with 0 when there is nothing to do, 2 for changes"),
    END,
};

static const struct command worker_commands[] = {
    {"plan", "", "show what apply would change at ActiveCampaign", 0, 0, plan_options,
     NULL},
    {"apply", "", "make the webhooks at ActiveCampaign as the file says", 0, 0, NULL,
     NULL},
    {"run", "", "keep them so: watch, repair, report", 0, 0, NULL, NULL},
    {"list", "", "list every webhook of the account, ours and others'", 0, 0, NULL, NULL},
    {"import", "<id>", "print the lines for the file that adopt a webhook found there", 1,
     1, NULL, NULL},
    {"recreate", "<hook>", "create a hook anew, then delete the old one", 1, 1, NULL,
     NULL},
    {"secrets", "", "show which secrets the URLs at ActiveCampaign still use", 0, 0, NULL,
     NULL},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};

const struct program program_worker = {
    .name = "acrelay-worker",
    .sentence = "Registers, updates, watches and repairs the webhooks at ActiveCampaign.",
    .commands = worker_commands,
    .more = EXIT_CODES,
};

// --- acrelay --------------------------------------------------------------------------

static const char *const print_words[] = {"example", "settings", "manual", NULL};
static const char *const reason_words[] = {"empty",     "nul",      "pairs", "json",
                                           "multipart", "encoding", "size",  "redis",
                                           "gap",       NULL};
static const char *const shell_words[] = {"bash", "zsh", "fish", NULL};

static const struct option doctor_options[] = {
    FLAG("offline", "ask neither ActiveCampaign nor public_url"),
    END,
};

static const struct option check_options[] = {
    FLAG("offline", "only the file and the secrets: no Redis, no ports, no directory"),
    {"print", "WHAT", "print example, settings or manual instead", OPTION_WORD,
     print_words},
    END,
};

static const struct option reload_options[] = {
    FLAG("worker", "acrelay-worker instead of acrelayd"),
    END,
};

static const struct option token_options[] = {
    FLAG("all", "one URL for each secret, newest first"),
    END,
};

static const struct option send_options[] = {
    {"hook", "NAME", "which hook; else the first that asks for the type", OPTION_TEXT,
     NULL},
    {"url", "URL", "post there instead of the receiver's listen address (http only)",
     OPTION_TEXT, NULL},
    {"file", "FILE", "post the bytes of this file (- for standard input)", OPTION_FILE,
     NULL},
    {"content-type", "TYPE", "else application/x-www-form-urlencoded", OPTION_TEXT, NULL},
    NUMBER("count", "how many, in turns over the types; 1 of each unless given"),
    NUMBER("rate", "how many a second at most"),
    FLAG("list", "list the types there are samples of"),
    END,
};

static const struct option tail_options[] = {
    {"from", "ID", "start behind this entry id, 0 for the oldest; else only new ones",
     OPTION_TEXT, NULL},
    {"group", "NAME", "read as a consumer group (made at 0), acknowledging what is shown",
     OPTION_TEXT, NULL},
    {"stream", "NAME", "which stream; events unless given", OPTION_TEXT, NULL},
    {"type", "TYPE", "only events of this type, for example subscribe", OPTION_TEXT,
     NULL},
    {"hook", "NAME", "only events of this hook", OPTION_TEXT, NULL},
    NUMBER("count", "end after so many"),
    FLAG("data", "show the normal form too"),
    END,
};

static const struct option journal_options[] = {
    {"directory", "DIR", "the journal's directory; receiver.state_dir unless given",
     OPTION_FILE, NULL},
    END,
};

#define RANGE                                                                            \
    {"directory", "DIR", "the journal's directory; receiver.state_dir unless given",     \
     OPTION_FILE, NULL},                                                                 \
        NUMBER("from", "first sequence number"), NUMBER("to", "last sequence number")

static const struct option dump_options[] = {
    RANGE,
    FLAG("raw", "show the bodies (personal data)"),
    END,
};

static const struct option replay_options[] = {
    RANGE,
    FLAG("yes", "really do it; else only say what would be done"),
    END,
};

static const struct option salvage_options[] = {
    RANGE,
    {"segment", "FILE", "only this segment's file, also one that was set aside in bad/",
     OPTION_FILE, NULL},
    {"to-file", "FILE", "where the deliveries go, a JSON line each", OPTION_FILE, NULL},
    FLAG("post", "post them to the receiver instead, each as a new delivery"),
    END,
};

static const struct option claim_options[] = {
    {"directory", "DIR", "the journal's directory; receiver.state_dir unless given",
     OPTION_FILE, NULL},
    FLAG("yes", "really do it; else only say what would be done"),
    END,
};

static const struct option dead_options[] = {
    {"reason", "WORD", "only those with this reason", OPTION_WORD, reason_words},
    NUMBER("count", "at most so many"),
    END,
};

static const struct option dead_drop_options[] = {
    {"reason", "WORD", "all with this reason", OPTION_WORD, reason_words},
    FLAG("all", "all of them"),
    END,
};

static const struct command cli_commands[] = {
    {"check", "", "check configuration, secrets, Redis, directory and ports", 0, 0,
     check_options, NULL},
    {"doctor", "", "examine the whole installation, and say what to do", 0, 0,
     doctor_options, NULL},
    {"token", "<hook>", "print a hook's URL, which is a password", 1, 1, token_options,
     NULL},
    {"send", "[<type>...|all]", "post realistic samples to the receiver", 0, 64,
     send_options, NULL},
    {"tail", "", "show events as they reach the stream", 0, 0, tail_options, NULL},
    {"status", "", "show everything in one screen", 0, 0, NULL, NULL},
    {"reload", "",
     "have acrelayd read configuration and secrets again, and say whether it did", 0, 0,
     reload_options, NULL},
    {"journal ls", "", "list what is in the journal", 0, 0, journal_options, NULL},
    {"journal dump", "", "show the deliveries in the journal", 0, 0, dump_options, NULL},
    {"journal verify", "", "read everything and report damage", 0, 0, journal_options,
     NULL},
    {"journal replay", "", "add deliveries to their streams once more", 0, 0,
     replay_options, NULL},
    {"journal salvage", "", "save every readable delivery to a file, or post it", 0, 0,
     salvage_options, NULL},
    {"journal claim", "", "make this the only place that ships this journal", 0, 0,
     claim_options, NULL},
    {"dead list", "", "list the dead letters", 0, 0, dead_options, NULL},
    {"dead show", "<entry id>", "show one dead letter with its bytes", 1, 1, NULL, NULL},
    {"dead replay", "<entry id>...", "send dead letters through again", 1, 1000, NULL,
     NULL},
    {"dead drop", "[<entry id>...]", "delete dead letters", 0, 1000, dead_drop_options,
     NULL},
    {"completion", "<shell>", "print completions for bash, zsh or fish", 1, 1, NULL,
     shell_words},
    {NULL, NULL, NULL, 0, 0, NULL, NULL},
};

const struct program program_acrelay = {
    .name = "acrelay",
    .sentence = "Checks, tries and looks after an acrelay installation.",
    .commands = cli_commands,
    .more = EXIT_CODES,
};
