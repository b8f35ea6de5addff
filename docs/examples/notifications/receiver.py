"""A receiver of one notice: prints the JSON that is sent to it, and ends."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"received: {notice['title']}: {notice['message']}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *parts):
        pass


server = HTTPServer(("127.0.0.1", 8907), Receiver)
server.timeout = 30
server.handle_request()
