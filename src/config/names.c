// Names, labels and paths.
#include "base/clock.h"
#include "config/kind.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

READ(read_name)
{
    UNUSED;
    if (!kind_is_made_of(text, LOWER UPPER DIGITS, LOWER UPPER DIGITS "_.-", 63))
        return "not a name";
    kind_set_text(field, text);
    return NULL;
}

READ(read_hook_name)
{
    UNUSED;
    if (!kind_is_made_of(text, LOWER DIGITS, LOWER DIGITS "-", 63))
        return "not a hook name";
    kind_set_text(field, text);
    return NULL;
}

READ(read_namespace)
{
    UNUSED;
    if (!kind_is_made_of(text, LOWER DIGITS "_-", LOWER DIGITS "_-", 32))
        return "not a namespace";
    kind_set_text(field, text);
    return NULL;
}

READ(read_stream)
{
    UNUSED;
    static const char *const taken[] = {"dead", "hooks", "last", "leader"};

    if (!kind_is_made_of(text, LOWER DIGITS, LOWER DIGITS "_.-", 63))
        return "not a stream name";
    for (size_t i = 0; i < 4; i++)
        if (strcmp(text, taken[i]) == 0)
            return "a name of a key of our own";
    kind_set_text(field, text);
    return NULL;
}

READ(read_label)
{
    UNUSED;
    if (!*text || strlen(text) > 200)
        return "empty or longer than 200 bytes";
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return "a label with control characters";
    kind_set_text(field, text);
    return NULL;
}

READ(read_zone)
{
    UNUSED;
    if (*text && !clock_is_zone(text))
        return "no time zone that this machine knows";
    kind_set_text(field, text);
    return NULL;
}

static const char *
resolve(const struct reading *r, const char *text, char *path)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");

    if (!*text)
        return "an empty path";
    if (strncmp(text, "env:", 4) == 0) {
        if (!kind_is_made_of(text + 4, LOWER UPPER "_", LOWER UPPER DIGITS "_", 255))
            return "not the name of an environment variable";
        snprintf(path, PATH_MAX, "%s", text);
        return NULL;
    }
    if (text[0] != '/' && credentials &&
        snprintf(path, PATH_MAX, "%s/%s", credentials, text) < PATH_MAX &&
        access(path, F_OK) == 0)
        return NULL;
    const char *file = reading_file(r), *slash = strrchr(file, '/');
    int keep = text[0] == '/' || !slash ? 0 : (int)(slash - file + 1);
    if (snprintf(path, PATH_MAX, "%.*s%s", keep, file, text) >= PATH_MAX)
        return "a path that is too long";
    return NULL;
}

READ(read_file)
{
    UNUSED;
    char path[PATH_MAX];
    const char *wrong = resolve(r, text, path);

    if (!wrong)
        kind_set_text(field, path);
    return wrong;
}

READ(read_files)
{
    UNUSED;
    char path[PATH_MAX];
    const char *wrong = resolve(r, text, path);

    return wrong ? wrong : kind_add_text(field, path);
}

READ(read_path)
{
    UNUSED;
    if (text[0] != '/' || strlen(text) > 200)
        return "not an absolute path of at most 200 bytes";
    kind_set_text(field, text);
    return NULL;
}

KIND(kind_name, "letters, digits, '_', '.' and '-', at most 63", read_name, false,
     kind_release_text);
KIND(kind_user, "letters, digits, '_', '.' and '-', at most 63", read_name, false,
     kind_release_text);
KIND(kind_hook_name, "lower-case letters, digits and '-', at most 63", read_hook_name,
     false, kind_release_text);
KIND(kind_namespace, "lower-case letters, digits, '_' and '-', at most 32",
     read_namespace, false, kind_release_text);
KIND(kind_stream, "lower-case letters, digits, '_', '.' and '-', at most 63", read_stream,
     false, kind_release_text);
KIND(kind_label, "a label of 1 to 200 bytes", read_label, false, kind_release_text);
KIND(kind_zone, "an IANA name like America/Chicago", read_zone, false, kind_release_text);
KIND(kind_file, "the path of a file, or env:NAME", read_file, false, kind_release_text);
KIND(kind_files, "paths of files, or env:NAME", read_files, true, kind_release_list);
KIND(kind_path, "an absolute path", read_path, false, kind_release_text);
