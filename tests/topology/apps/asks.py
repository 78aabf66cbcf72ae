"""Asks different things over HTTP/1.1, each some times and each time on a connection of its own; one line has all answers.

The argument is JSON: a list of requests, each with ``to`` (address and port), ``host``, ``path`` and ``headers``.
"""

from __future__ import annotations

import argparse
import http.client
import json
from typing import Any

from common import say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=json.loads)
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    answers = [[answer(one) for _ in range(arguments.times)] for one in arguments.requests]
    say(event="asked", answers=answers)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    host, port = asked["to"]
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", asked["path"], headers={"host": asked["host"], **asked["headers"]})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        return {"error": repr(error)}
    finally:
        connection.close()
    told = joined((name.lower(), value) for name, value in response.getheaders())
    try:
        seen = json.loads(content)
        seen["headers"] = joined(seen["headers"])
    except ValueError:
        seen = {}
    return {"status": response.status, "headers": told, "seen": seen}


def joined(pairs: Any) -> dict[str, str]:
    """Values of one name with commas between them."""
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


main()
