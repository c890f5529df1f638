// The command line of all three programs: long options, and commands of one word or two
// ("send", "journal ls"). What a program accepts is in tables, a row for each command beside
// the function that runs it; parsing, --help, nearest spellings and the shells' completion
// (--complete) all read them.
#ifndef ACRELAY_PROGRAM_OPTIONS_H
#define ACRELAY_PROGRAM_OPTIONS_H

#include "base/err.h"
#include "base/span.h"

#include <signal.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,  // takes no value
    OPTION_MAYBE, // any text in the same word (--name=value), or none
    // From here on a value is required, in the same word or the next.
    OPTION_TEXT,   // any text (shells complete it as a path), or one of `words`
    OPTION_NUMBER, // a plain decimal
    OPTION_COUNT,  // the same, at least 1
};

struct option {
    const char *name;  // "count", without the dashes
    const char *value; // what stands for the value in the help: "N"; NULL for a flag
    const char *sentence;
    enum option_kind kind;
    const char *const *words; // NULL-ended; NULL: any text
};

// clang-format off
#define OPTION_IS_FLAG(name, sentence) {name, NULL, sentence, OPTION_FLAG, NULL}
#define OPTION_IS_NUMBER(name, sentence) {name, "N", sentence, OPTION_NUMBER, NULL}
#define OPTION_IS_COUNT(name, sentence) {name, "N", sentence, OPTION_COUNT, NULL}
#define OPTION_IS_TEXT(name, value, sentence) {name, value, sentence, OPTION_TEXT, NULL}
// clang-format on

// OPTIONS is a command's table of a few options, in its row.
#define OPTIONS(...) ((const struct option[]){__VA_ARGS__, {0}})

struct subcommand {
    const char *name;                           // "send" or "journal ls"
    const char *arguments;                      // "<type>..." in the help; "" for none
    const char *sentence;                       // one line, no full stop
    int min, max;                               // arguments
    const struct option *options;               // ended by a name of NULL; NULL for none
    int (*run)(void *context, struct err *err); // the exit code, or -1 with *err
    bool needs_config; // the program reads the configuration (and what it names) first
    const char *const *words; // what an argument can be; NULL: anything
};

// A program has commands, or only options (then `commands` is NULL).
struct program {
    const char *name;
    const char *sentence;
    const struct subcommand *const *commands; // tables of them; NULL-ended
    const struct option *options;             // its own, beside those every program has
    const char *more; // last paragraph of the help, before the exit codes
};

// Beside its own options every program has --config --account --json --log --verbose --help
// --version.
extern const char *const options_log_forms[]; // of --log, in the order of enum log_form

enum { OPTIONS_MAX = 32 };

// What was asked for. Texts are argv's own, valid as long as it.
struct options {
    const struct program *program;
    const struct subcommand *command; // NULL where the program has none
    const char **arguments;
    int arguments_len;
    struct {
        const struct option *option;
        const char *value; // NULL for a flag, or where none was given
    } given[OPTIONS_MAX];
    size_t given_len;
};

// program_start is the first thing in main: files are for us only, no core dump ever holds a
// delivery or a secret (a limit does not keep one from a pipe, core(5); a process that is not
// dumpable has none, and no debugger of its user's), a broken pipe is an error of write(2), and
// of the descriptors 0 to 2 those that are closed are taken, so that no file or socket gets what
// is meant for them; reading and writing there still fails. Then options_parse, whose result it
// gives, and how to log (--log and --verbose) and to print (program/output.h).
int program_start(struct options *o, const struct program *p, int argc, char **argv);

// program_config is the path of the configuration: --config, the file that --account names, else
// $ACRELAY_CONFIG, else /etc/acrelay/acrelay.yaml. program_start refused a name that is none, and
// both at once.
const char *program_config(const struct options *o);

// program_block_signals leaves SIGTERM, SIGINT and SIGHUP to the sigtimedwait(2) of the main
// thread; before any thread is started.
void program_block_signals(sigset_t *signals);

// options_parse reads argv, which is reordered: arguments come first. Returns -1 to continue, or
// the code to exit with: 0 after --help, --version or --complete was printed to stdout, 64
// after a mistake was reported on stderr.
int options_parse(struct options *o, const struct program *p, int argc, char **argv);

// An option's last value, or `fallback` when it was not given. The name must be one that the
// program or the command has (assert).
bool options_has(const struct options *o, const char *name);
const char *options_text(const struct options *o, const char *name, const char *fallback);
uint64_t options_number(const struct options *o, const char *name, uint64_t fallback);

#endif
