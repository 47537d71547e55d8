"""An API that knows nothing of idempotency: every POST makes another order."""

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

numbers = itertools.count(1)
orders = []


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        item = self.rfile.read(int(self.headers.get("content-length", 0))).decode(errors="replace")
        orders.append({"order": next(numbers), "item": item})
        self.answer(201, orders[-1])

    def do_GET(self):
        self.answer(200, orders)

    def answer(self, status, document):
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 3000), Api).serve_forever()
