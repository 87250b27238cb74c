"""A server on a passed socket whose health is decided by the file CONTROL/ill.PID; other requests get the pid."""
import http.server
import os
import socket
import socketserver


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        ill = self.path == "/health" and os.path.exists(f"{os.environ['CONTROL']}/ill.{os.getpid()}")
        body = b"ill" if ill else str(os.getpid()).encode()
        self.send_response(500 if ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=3)


Server().serve_forever()
