"""Answers requests of HTTP/2, known beforehand, as ``web`` does those of HTTP/1.1: with what it sees of them, in JSON."""

from __future__ import annotations

import argparse
import json
import socket

from common import listen, serve
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="web2")
    arguments = parser.parse_args()

    def answer(connection: socket.socket, _: tuple[object, ...]) -> None:
        machine = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        machine.initiate_connection()
        connection.sendall(machine.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        sizes: dict[int, int] = {}
        while data := connection.recv(65536):
            for event in machine.receive_data(data):
                if isinstance(event, RequestReceived):
                    heads[event.stream_id] = {str(name): str(value) for name, value in event.headers}
                    sizes[event.stream_id] = 0
                elif isinstance(event, DataReceived):
                    sizes[event.stream_id] += len(event.data)
                    machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    head = heads.pop(event.stream_id)
                    seen = {
                        "server": arguments.name,
                        "method": head[":method"],
                        "path": head[":path"],
                        "authority": head[":authority"],
                        "headers": sorted(pair for pair in head.items() if not pair[0].startswith(":")),
                        "body": sizes.pop(event.stream_id),
                    }
                    content = json.dumps(seen).encode()
                    status = head[":path"].rpartition("/status/")[2] if "/status/" in head[":path"] else "200"
                    machine.send_headers(
                        event.stream_id, [(":status", status), ("content-type", "application/json")]
                    )
                    machine.send_data(event.stream_id, content, end_stream=True)
            connection.sendall(machine.data_to_send())

    serve(listen(arguments.port, "4"), answer)


main()
