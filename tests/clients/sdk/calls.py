"""Reads one call a line, makes each in a thread of its own, and prints what the client said of it, one line a call."""

import json
import os
import sys
import threading


def serve(make):
    """`make(url, key, name, retries)` makes a call: `key` is None where the client is to find one. It returns the id, or raises."""

    def run(call):
        try:
            said = {"ok": True, "id": make(call["url"], call["key"], call["name"], call["retries"])}
        except Exception as error:
            status = getattr(error, "status_code", None) or getattr(error, "http_status", None)
            if status is None and getattr(error, "response", None) is not None:
                status = error.response.status_code
            said = {"ok": False, "error": type(error).__name__, "status": status, "text": str(error)[:200]}
        said["call"] = call["call"]
        os.write(1, (json.dumps(said) + "\n").encode())

    for line in sys.stdin:
        threading.Thread(target=run, args=[json.loads(line)]).start()
