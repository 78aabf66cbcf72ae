"""A process that is killed tells nobody an orderly end; what it had ended in order is delivered."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

CARRIER = """
import asyncio, socket, sys
from ambient.net.tcp import SocketEnd

async def main():
    end = SocketEnd(socket.socket(fileno=int(sys.argv[1])))
    end.write(b"half of an answer")
    if sys.argv[2] == "finished":
        end.finish()
    print("carried", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_the_peer_of_a_killed_process_sees_no_end_that_was_not_meant(state: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        carried, _ = listener.accept()
    with client, carried:
        client.settimeout(10)
        carrier = subprocess.Popen(
            [sys.executable, "-c", CARRIER, str(carried.fileno()), state],
            pass_fds=[carried.fileno()],
            stdout=subprocess.PIPE,
        )
        assert carrier.stdout is not None
        with carrier:
            assert carrier.stdout.readline() == b"carried\n"
            carried.close()
            assert client.recv(100) == b"half of an answer"
            carrier.kill()
        if state == "finished":
            assert client.recv(100) == b""
        else:
            with pytest.raises(ConnectionResetError):
                client.recv(100)
