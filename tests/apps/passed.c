/* Accepts on the socket it was passed (LISTEN_FDS), answers with its pid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    if (!fds || !pid || atoi(pid) != getpid()) return 9;
    for (;;) {
        char request[4096], body[32], answer[256];
        int connection = accept(3, NULL, NULL);
        if (connection < 0) continue;
        if (read(connection, request, sizeof request) < 0) { close(connection); continue; }
        int length = snprintf(body, sizeof body, "%d", getpid());
        int size = snprintf(answer, sizeof answer,
                            "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
        if (write(connection, answer, size) < 0) { /* the client has left */ }
        close(connection);
    }
}
