"""Listeners at a path: whose file is replaced, and whose is left alone."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from ambient.aio import unix
from ambient.core.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])


@KINDS
def test_only_its_owner_can_reach_a_listener_and_a_dead_ones_file_is_replaced(tmp_path, kind):
    path = str(tmp_path / "sock")
    dead = unix.listen(path, kind)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert not dead.getblocking()
    with pytest.raises(ConfigError, match="another process does"):
        unix.listen(path, kind)
    dead.close()
    unix.listen(path, kind).close()


@KINDS
def test_a_listener_that_lives_never_hears_that_it_was_asked_for(tmp_path, kind):
    path = str(tmp_path / "sock")
    with unix.listen(path, kind) as alive:
        with pytest.raises(ConfigError, match="another process does"):
            unix.listen(path, kind)
        with pytest.raises(BlockingIOError):
            alive.accept()


def test_a_socket_that_does_not_listen_yet_is_not_replaced(tmp_path):
    path = str(tmp_path / "sock")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        with pytest.raises(ConfigError, match="another process does"):
            unix.listen(path, socket.SOCK_STREAM)


def test_a_file_that_is_not_a_socket_is_left_alone(tmp_path):
    path = tmp_path / "sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        unix.listen(str(path), socket.SOCK_STREAM)
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/sock: No such file"):
        unix.listen(str(tmp_path / "nowhere" / "sock"), socket.SOCK_STREAM)


def test_a_link_is_not_followed(tmp_path):
    with unix.listen(str(tmp_path / "real"), socket.SOCK_STREAM) as real:
        (tmp_path / "link").symlink_to("real")
        with pytest.raises(ConfigError, match="not a socket"):
            unix.listen(str(tmp_path / "link"), socket.SOCK_STREAM)
        with socket.socket(socket.AF_UNIX) as client:
            assert client.connect_ex(str(tmp_path / "real")) == 0
            real.accept()[0].close()
