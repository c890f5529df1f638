// A server that uses what acrelay does not: civetweb's files (CVE-2025-55763 is in the redirect to
// a directory) and its form parser (CVE-2025-9648 is in its reading of a NUL).
//     civetweb_holes DIRECTORY    prints its port
#include <civetweb.h>
#include <stdio.h>
#include <unistd.h>

static int
skip_field(const char *key, const char *name, char *path, size_t size, void *context)
{
    (void)key, (void)name, (void)path, (void)size, (void)context;
    return MG_FORM_FIELD_STORAGE_SKIP;
}

static int
read_form(struct mg_connection *conn, void *context)
{
    struct mg_form_data_handler handler = {.field_found = skip_field};

    (void)context;
    mg_handle_form_request(conn, &handler);
    mg_send_http_ok(conn, "text/plain", 0);
    return 200;
}

int
main(int argc, char **argv)
{
    const char *options[] = {"listening_ports", "127.0.0.1:0", "document_root",
                             argv[argc - 1], NULL};
    struct mg_context *context = mg_start(NULL, NULL, options);
    struct mg_server_port port;

    mg_set_request_handler(context, "/form", read_form, NULL);
    mg_get_server_ports(context, 1, &port);
    printf("%d\n", port.port);
    fflush(stdout);
    pause();
}
