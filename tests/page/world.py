"""A proxy before an upstream that does as it is told, and the clients of both."""

import contextlib
import http.client
import json
import re
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Upstream:
    """Answers 201; 502 where the path has `lost`, 402 where it has `declined`; where it has `hold`, not before it is let go."""

    def __init__(self):
        self.executions = 0
        self.held = threading.Event()
        self.gate = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                upstream.executions += 1
                if "hold" in self.path:
                    upstream.held.set()
                    upstream.gate.wait(120)
                body = b'{"made": %d}' % upstream.executions
                self.send_response(502 if "lost" in self.path else 402 if "declined" in self.path else 201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A proxy that has ended takes no answer.
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server.server_address[1]


class World:
    """The proxy, in a process of its own. Ends with the `with`."""

    def __init__(self, binary, token=None, policy=""):
        self.upstream = Upstream()
        self.token = token
        self.directory = tempfile.TemporaryDirectory()
        here = Path(self.directory.name)
        admin = ""
        if token:
            (here / "token").write_text(token)
            admin = f'token_file = "{here}/token"\n'
        (here / "idemproxy.toml").write_text(
            f'listen = "127.0.0.1:0"\nupstream = "http://127.0.0.1:{self.upstream.port}"\n'
            f'[admin]\nlisten = "127.0.0.1:0"\n{admin}[store]\nurl = "memory:"\n'
            f'[policy]\nclient_timeout = "60s"\n{policy}[[route]]\nname = "orders"\npath = "/orders/{{*rest}}"\n'
        )
        self.process = subprocess.Popen(
            [binary, "run", "--config", here / "idemproxy.toml"], stderr=subprocess.PIPE, text=True
        )
        ports, log = {}, []
        for line in self.process.stderr:
            line = re.sub(r"\x1b\[[0-9;]*m", "", line)
            log.append(line)
            if found := re.search(r"(listening(?: for operators)?) address=127\.0\.0\.1:(\d+)", line):
                ports[found[1]] = int(found[2])
            if len(ports) == 2:
                break
        assert len(ports) == 2, "".join(log)
        self.port, self.admin = ports["listening"], ports["listening for operators"]
        # Nobody reads on, and it must not wait for that.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.upstream.gate.set()
        self.end()
        self.upstream.server.shutdown()
        self.directory.cleanup()

    def end(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.admin}/"

    def send(self, path, key):
        """A client's request: status, fields, body."""
        return ask(self.port, "POST", path, {"Idempotency-Key": key}, b"a")

    def begin(self, path, key):
        """A client's request that the upstream holds."""

        def send():
            # It may see the end of the proxy.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.send(path, key)

        threading.Thread(target=send, daemon=True).start()
        assert self.upstream.held.wait(30), "the upstream was not asked"

    def unknown(self, key, path="/orders/lost"):
        """A record of unknown outcome; its id."""
        status, fields, _ = self.send(path, key)
        assert (status, fields["x-idempotency-state"]) == (502, "unknown")
        return fields["x-idempotency-id"]

    def api(self, method, path, body=None):
        """The admin API, asked by somebody else."""
        status, _, text = ask(
            self.admin, method, path, {"Content-Type": "application/json"}, json.dumps(body).encode()
        )
        return status, json.loads(text)


def ask(port, method, path, fields, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text
    finally:
        connection.close()
