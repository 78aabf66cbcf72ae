"""Answers requests of HTTP/1.1 with what it sees of them, in JSON.

``/status/NUMBER`` answers that; ``/sleep/SECONDS`` holds the answer up; ``/fail/COUNT/KEY`` answers 503 so many times for a
key, and 200 after that; ``/cut`` says half of what it announces and hangs up; ``/large/BYTES`` answers as many; ``/hold``
answers when SIGUSR1 comes. The headers ``x-sleep`` and ``x-status`` do the same for any path, and ``x-fail`` is a count for
the id of the request. What it says of a request counts how many it has at once.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from common import say


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name: ClassVar[str]
    failed: ClassVar[Counter[str]] = Counter()
    lock: ClassVar[threading.Lock] = threading.Lock()
    released: ClassVar[threading.Event] = threading.Event()
    active: ClassVar[int] = 0
    disable_nagle_algorithm = True

    def answer(self) -> None:
        with self.lock:
            Handler.active += 1
        try:
            self._answer()
        finally:
            with self.lock:
                Handler.active -= 1

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        seen = {
            "server": self.name,
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": len(body),
        }
        known = self.headers.get("x-request-id")
        say(event="request", method=self.command, path=self.path, active=Handler.active, id=known)
        status, content = int(self.headers.get("x-status", "200")), json.dumps(seen).encode()
        if "x-fail" in self.headers:
            status = self._status(str(known), int(self.headers["x-fail"]))
        time.sleep(float(self.headers.get("x-sleep", "0")))
        match self.path.partition("?")[0].split("/")[1:]:
            case ["status", number]:
                status = int(number)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
            case ["fail", count, key]:
                status = self._status(key, int(count))
            case ["hold"]:
                self.released.wait()
            case ["large", size]:
                content = b"x" * int(size)
            case _:
                pass
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.path == "/cut":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def _status(self, key: str, failures: int) -> int:
        with self.lock:
            self.failed[key] += 1
            return 503 if self.failed[key] <= failures else 200

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return whole

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def released(*_: object) -> None:
    Handler.released.set()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="web")
    arguments = parser.parse_args()
    Handler.name = arguments.name
    server = Server(("0.0.0.0", arguments.port), Handler)
    signal.signal(signal.SIGUSR1, released)
    say(event="listening", port=arguments.port)
    server.serve_forever()


main()
