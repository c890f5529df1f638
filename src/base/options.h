// The command line of all three programs: long options, and commands of one word or two
// ("send", "journal ls"). What a program takes is a table (programs.h); parsing, --help,
// nearest spellings and the shells' completions all come from it.
#ifndef ACRELAY_BASE_OPTIONS_H
#define ACRELAY_BASE_OPTIONS_H

#include "base/buf.h"

#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   // takes no value
    OPTION_TEXT,   // any text
    OPTION_FILE,   // a path; shells complete it
    OPTION_NUMBER, // a plain decimal
    OPTION_WORD,   // one of `words`
};

struct option {
    const char *name;  // "count", without the dashes
    const char *value; // what stands for the value in the help: "N"; NULL for a flag
    const char *sentence;
    enum option_kind kind;
    const char *const *words; // OPTION_WORD: NULL-ended
};

struct command {
    const char *name;             // "send" or "journal ls"
    const char *arguments;        // "<type>..." in the help; "" for none
    const char *sentence;         // one line, no full stop
    int least, most;              // arguments
    const struct option *options; // ended by a name of NULL; NULL for none
    const char *const *words; // what an argument can be, for completion; NULL: anything
};

// A program has commands, or only options (then `commands` is NULL).
struct program {
    const char *name;
    const char *sentence;
    const struct command *commands; // ended by a name of NULL
    const struct option *options;   // its own, beside those every program has
    const char *more;               // last paragraph of the help
};

// --help --version --config --json --log --verbose: every program has these.
extern const struct option options_common[];

enum { OPTIONS_MAX = 32 };

// What was asked for. Texts are argv's own, valid as long as it.
struct options {
    const struct program *program;
    const struct command *command; // NULL where the program has none
    const char **arguments;
    int arguments_len;
    struct {
        const struct option *option;
        const char *value; // NULL for a flag
    } given[OPTIONS_MAX];
    size_t given_len;
};

// options_parse reads argv, which is reordered: arguments go first. Returns -1 to go on, or
// the code to exit with: 0 after --help or --version was printed to stdout, 64 after a
// mistake was told on stderr. On -1 the log has been started as --log and --verbose say.
int options_parse(struct options *o, const struct program *p, int argc, char **argv);

// An option's last value, or `otherwise` when it was not given. The name must be one that
// the program or the command has (assert).
bool options_has(const struct options *o, const char *name);
const char *options_text(const struct options *o, const char *name,
                         const char *otherwise);
uint64_t options_number(const struct options *o, const char *name, uint64_t otherwise);

// options_is says whether the command is the one of that name.
bool options_is(const struct options *o, const char *command);

// options_write_help writes what --help prints: of the program, of one command, or of the
// commands that start with the word `group` ("journal"); both NULL: the program.
int options_write_help(struct buf *to, const struct program *p, const struct command *c,
                       struct span group);

#endif
