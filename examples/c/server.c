/*
 * A compiled HTTP server that is given its listening socket (LISTEN_FDS). One request at a time, one process per
 * instance. Started by hand, it says what is missing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define FIRST_PASSED_FD 3

static int passed_socket(void) {
    const char *count = getenv("LISTEN_FDS");
    const char *pid = getenv("LISTEN_PID");
    if (count == NULL || atoi(count) < 1 || pid == NULL || atol(pid) != (long)getpid())
        return -1;
    return FIRST_PASSED_FD;
}

/* Reads until the blank line that ends the request's head; a client that says nothing for 5 s is left. */
static int read_head(int client) {
    struct timeval patience = {.tv_sec = 5};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char head[8192];
    size_t length = 0;
    while (length < sizeof head - 1) {
        ssize_t got = read(client, head + length, sizeof head - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        length += (size_t)got;
        head[length] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL)
            return 0;
    }
    return -1;
}

static void answer(int client) {
    const char *instance = getenv("NODE_APP_INSTANCE");
    char body[128], text[512];
    int body_length =
        snprintf(body, sizeof body, "{\"pid\":%ld,\"instance\":%d}\n", (long)getpid(), instance ? atoi(instance) : 0);
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                          "Connection: close\r\n\r\n%s",
                          body_length, body);
    for (int sent = 0; sent < length;) {
        ssize_t wrote = send(client, text + sent, (size_t)(length - sent), MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return;
        sent += (int)wrote;
    }
}

int main(void) {
    int listening = passed_socket();
    if (listening < 0) {
        fputs("no socket was passed: start this with `rpm start examples/c/ecosystem.json`\n", stderr);
        return 1;
    }
    printf("worker %ld accepts from the passed socket\n", (long)getpid());
    fflush(stdout);
    for (;;) {
        int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
            if (errno == EINTR || errno == ECONNABORTED || errno == EAGAIN)
                continue;
            perror("accept");
            return 1;
        }
        if (read_head(client) == 0)
            answer(client);
        shutdown(client, SHUT_WR);
        close(client);
    }
}
