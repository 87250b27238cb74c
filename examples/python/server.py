"""An HTTP server that is given its listening socket (LISTEN_FDS), with the standard library only.

The socket is opened by the supervisor and outlives every worker, so workers can be replaced without a refused
connection. Started by hand, without LISTEN_FDS, it binds PORT (default 8001) itself.
"""

import http.server
import json
import os
import socket

FIRST_PASSED_FD = 3


def listening_socket():
    passed = int(os.environ.get("LISTEN_FDS", "0"))
    meant_for_us = os.environ.get("LISTEN_PID") == str(os.getpid())
    if passed >= 1 and meant_for_us:
        return socket.socket(fileno=FIRST_PASSED_FD)
    return socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8001"))))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = {"pid": os.getpid(), "instance": int(os.environ.get("NODE_APP_INSTANCE", "0"))}
        if self.path == "/health":
            body["status"] = "healthy"
        elif self.path != "/":
            self.send_error(404)
            return
        text = json.dumps(body).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Silence: one line per request is the balancer's business."""


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, listening):
        super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        # Blocking: where another worker was faster, the next connection is waited for.
        listening.settimeout(None)
        self.socket = listening


if __name__ == "__main__":
    server = Server(listening_socket())
    print(f"worker {os.getpid()} listens on {server.socket.getsockname()}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
