"""A WebSocket server that answers in capitals, or with ``--call`` a client that says some words and tells what it heard."""

from __future__ import annotations

import argparse

from common import say
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve


def answer(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message.upper())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--call")
    arguments = parser.parse_args()
    if arguments.call is None:
        with serve(answer, "0.0.0.0", arguments.port) as server:
            say(event="listening", port=arguments.port)
            server.serve_forever()
    else:
        heard = []
        with connect(f"ws://{arguments.call}:{arguments.port}/chat") as connection:
            for word in ("one", "two", "x" * 300_000):
                connection.send(word)
                heard.append(connection.recv(timeout=10))
        code = connection.close_code
        say(event="called", heard=[len(text) if len(text) > 9 else text for text in heard], code=code)


main()
