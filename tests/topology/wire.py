"""Watching a wire without tcpdump: which flows passed, what they carried, and whether all of it was TLS.

A packet socket in a namespace sees each packet once, when it comes in through an interface that is no bridge.
Addresses are as on the wire. A direction of a connection is one flow; its bytes are followed in order, so that the
verdict on TLS covers every byte from the SYN on and not only the first packet.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from topology.namespace import entered
from topology.process import until

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 263, 6, 33
FIN, SYN, RST = 1, 2, 4
BRIDGES = {"fabric", "pods", "lo"}
"""Interfaces on which a packet is seen a second time."""
Address = IPv4Address | IPv6Address


@dataclass(slots=True)
class Flow:
    """One direction of a TCP connection or of a UDP exchange."""

    protocol: int
    source: tuple[Address, int]
    destination: tuple[Address, int]
    first_seen: float
    """Of ``time.time``, as are the other moments."""
    last_seen: float
    last_payload: float = 0
    packets: int = 0
    payload_bytes: int = 0
    opened: bool = False
    """The SYN was seen: everything that the flow carried is accounted for."""
    reset: bool = False
    first_payload: bytes = b""
    markers: dict[bytes, float] = field(default_factory=dict)
    """Marker to when it was last seen in this flow."""
    not_tls: str | None = None
    """Why the bytes cannot be TLS records; None: all of them are, as far as they were followed."""
    _next: int | None = None
    _early: dict[int, bytes] = field(default_factory=dict)
    _tail: bytes = b""
    _record: bytearray = field(default_factory=bytearray)
    _skip: int = 0

    @property
    def is_tls(self) -> bool:
        """All bytes since the SYN were TLS records, and there were some."""
        return self.opened and self.payload_bytes > 0 and self.not_tls is None and not self._early

    def __str__(self) -> str:
        carried = "TLS" if self.is_tls else self.not_tls or "nothing"
        seen = ", ".join(marker.decode(errors="replace") for marker in self.markers)
        ends = " → ".join(f"[{ip}]:{port}" for ip, port in (self.source, self.destination))
        return f"{ends} {self.payload_bytes} bytes, {carried}" + (f", with {seen}" if seen else "")

    def take(self, sequence: int, payload: bytes, markers: Iterable[bytes]) -> None:
        """Follow a segment; one that came before its turn waits for what is before it."""
        self._early[sequence] = max(payload, self._early.get(sequence, b""), key=len)
        self._look_for(markers, payload)
        if self._next is None:
            self._next = sequence
        for early in sorted(self._early, key=self._ahead):
            ahead = self._ahead(early)
            if ahead > 0:
                return
            self._append(self._early.pop(early)[-ahead:], markers)

    def _ahead(self, sequence: int) -> int:
        """How many bytes of the stream lie between what was followed and this segment."""
        assert self._next is not None
        return (sequence - self._next + (1 << 31)) % (1 << 32) - (1 << 31)

    def _append(self, payload: bytes, markers: Iterable[bytes]) -> None:
        if not payload:
            return
        assert self._next is not None
        self._next = (self._next + len(payload)) % (1 << 32)
        self.payload_bytes += len(payload)
        if len(self.first_payload) < 64:
            self.first_payload = (self.first_payload + payload)[:64]
        self._look_for(markers, self._tail + payload[:64])
        self._tail = (self._tail + payload)[-64:]
        if self.not_tls is None:
            self._follow_records(payload)

    def _look_for(self, markers: Iterable[bytes], payload: bytes) -> None:
        for marker in markers:
            if marker in payload:
                self.markers[marker] = self.last_seen

    def _follow_records(self, payload: bytes) -> None:
        position = 0
        while position < len(payload):
            if self._skip:
                step = min(self._skip, len(payload) - position)
                self._skip -= step
                position += step
                continue
            self._record += payload[position : position + 5 - len(self._record)]
            position = min(len(payload), position + 5)
            if len(self._record) == 5:
                kind, version, length = struct.unpack("!BHH", self._record)
                if not (20 <= kind <= 23 and 0x0301 <= version <= 0x0303 and length <= 16640):
                    self.not_tls = f"plain bytes {bytes(self._record)!r}"
                    return
                self._skip = length
                self._record.clear()


class Wire:
    """Counts from its making until ``close``; its answers can be asked at any time."""

    def __init__(self, netns: Path, markers: Iterable[bytes] = ()) -> None:
        self.markers = tuple(markers)
        self.dropped = 0
        """Packets that came too fast: what is said of the rest then proves nothing."""
        self._flows: dict[tuple[int, bytes, bytes], Flow] = {}
        self._closed: list[Flow] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._emptied = 0.0
        with entered(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="wire", daemon=True)
        self._thread.start()

    def flows(self, wanted: Callable[[Flow], bool] = lambda _: True) -> list[Flow]:
        """Flows seen until now, oldest first, that had payload or were opened."""
        with self._lock:
            seen = [*self._closed, *self._flows.values()]
        return sorted((flow for flow in seen if wanted(flow)), key=lambda flow: flow.first_seen)

    def leaks(self, since: float = 0) -> list[Flow]:
        """Flows in which a marker passed in plaintext after ``since`` (of ``time.time``)."""
        return self.flows(lambda flow: any(seen >= since for seen in flow.markers.values()))

    def to_port(self, port: int) -> list[Flow]:
        """Flows towards a port, with payload."""
        return self.flows(lambda flow: flow.destination[1] == port and flow.payload_bytes > 0)

    def drain(self) -> None:
        """Return when what was on the wire at the call has been counted."""
        asked = time.time()
        until(lambda: self._emptied > asked, 10, "the watcher of the wire to catch up")

    def close(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._thread.join()
        _, self.dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()

    def _watch(self) -> None:
        while not self._stopping:
            try:
                frame, (interface, _, kind, _, _) = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                self._emptied = time.time()
                select.select([self._socket], [], [], 0.05)
                continue
            if kind != PACKET_OUTGOING and interface not in BRIDGES:
                with self._lock:
                    self._count(memoryview(frame))

    def _count(self, frame: memoryview) -> None:
        parsed = _transport(frame)
        if parsed is None:
            return
        protocol, source, destination, segment = parsed
        now = time.time()
        key = (protocol, source + segment[0:2], destination + segment[2:4])
        flow = self._flows.get(key)
        flags, payload, sequence = 0, b"", 0
        if protocol == socket.IPPROTO_TCP:
            sequence, flags = struct.unpack_from("!I", segment, 4)[0], segment[13]
            payload = bytes(segment[(segment[12] >> 4) * 4 :])
        else:
            payload = bytes(segment[8:])
        if flow is None or (flags & SYN and flow.payload_bytes):
            if flow is not None:
                self._closed.append(flow)
            ports = struct.unpack_from("!HH", segment)
            flow = self._flows[key] = Flow(
                protocol, (ip_address(source), ports[0]), (ip_address(destination), ports[1]), now, now
            )
        flow.packets += 1
        flow.last_seen = now
        if flags & RST:
            flow.reset = True
        if flags & SYN:
            flow.opened = True
            flow._next = (sequence + 1) % (1 << 32)
            sequence += 1
        if payload:
            flow.last_payload = now
            flow.take(sequence % (1 << 32), payload, self.markers)


def _transport(frame: memoryview) -> tuple[int, bytes, bytes, bytes] | None:
    """Protocol, addresses, and the segment without link-layer padding; None for what is neither TCP nor UDP."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    packet = frame[14:]
    if kind == ETH_P_IP:
        header = (packet[0] & 15) * 4
        protocol, source, destination = packet[9], packet[12:16], packet[16:20]
        segment = packet[header : struct.unpack_from("!H", packet, 2)[0] or None]
    elif kind == ETH_P_IPV6:
        protocol, source, destination = packet[6], packet[8:24], packet[24:40]
        length = struct.unpack_from("!H", packet, 4)[0]
        segment = packet[40 : 40 + length] if length else packet[40:]
    else:
        return None
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    return protocol, bytes(source), bytes(destination), bytes(segment)
