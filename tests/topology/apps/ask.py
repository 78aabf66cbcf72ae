"""Asks a server over HTTP/1.1, on as many connections at once as wished, and sums up what it was answered in one line."""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections import Counter
from typing import Any

from common import say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--path", default="/")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--body", type=int, default=0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=20)
    arguments = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in arguments.header)
    body = b"x" * arguments.body if arguments.body else None
    statuses: Counter[str] = Counter()
    servers: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    answers: list[dict[str, Any]] = []
    left = iter(range(arguments.count))
    lock = threading.Lock()

    def ask() -> None:
        connection: http.client.HTTPConnection | None = None
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            if connection is None:
                connection = http.client.HTTPConnection(
                    arguments.host, arguments.port, timeout=arguments.timeout
                )
            try:
                path = arguments.path.replace("NUMBER", str(number))
                connection.request(arguments.method, path, body, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = None
                with lock:
                    errors[type(error).__name__] += 1
                continue
            with lock:
                statuses[str(response.status)] += 1
                try:
                    seen = json.loads(content)
                    servers[seen["server"]] += 1
                except (ValueError, TypeError, KeyError):
                    seen = content[:2000].decode(errors="replace")
                if len(answers) < 4:
                    told = [[name.lower(), value] for name, value in response.getheaders()]
                    answers.append(
                        {"status": response.status, "headers": told, "seen": seen, "size": len(content)}
                    )
            if response.will_close:
                connection.close()
                connection = None

    began = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(arguments.at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(
        event="asked",
        statuses=statuses,
        servers=servers,
        errors=errors,
        answers=answers,
        seconds=time.monotonic() - began,
    )


main()
