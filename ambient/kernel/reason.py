"""Why the programs passed, redirected or dropped: ``enum reason`` of ``bpf/include/reason.h``, in its order."""

from __future__ import annotations

from enum import IntEnum, auto


class Reason(IntEnum):
    """One counter each; the name in lower case is the label in metrics."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        del name, start, last_values
        return count

    PASS_NOT_TCP = auto()
    PASS_UNKNOWN_NAMESPACE = auto()
    PASS_OUTBOUND_OFF = auto()
    PASS_PROXY = auto()
    PASS_LOOPBACK = auto()
    PASS_LINK_LOCAL = auto()
    PASS_EXCLUDED_PORT = auto()
    PASS_EXCLUDED_NETWORK = auto()
    PASS_REDIRECTED = auto()
    REDIRECT_OUTBOUND = auto()
    REDIRECT_BOUND_DEVICE = auto()
    DROP_NO_STORAGE = auto()
    DROP_NO_ORIGINAL_DESTINATION = auto()
    CONNECT_FAILED = auto()
    CLIENT_RESTORED = auto()
    CLIENT_LOST = auto()
    FLOW_KEPT = auto()
    FLOW_NOT_LISTED = auto()
    FLOW_LOST = auto()
    NAME_NOT_IPV4 = auto()
    REFUSE_MPTCP = auto()
    ADMIT_PROBE = auto()
    CAPTURE_HBONE = auto()
    CAPTURE_PLAINTEXT = auto()
    PASS_INBOUND_LOOPBACK = auto()
    PASS_INBOUND_ADMITTED = auto()
    PASS_INBOUND_OWN = auto()
    PASS_INBOUND_EXCLUDED_PORT = auto()
    PASS_INBOUND_OFF = auto()
    PASS_INBOUND_NOT_TCP = auto()
    DROP_UNKNOWN_ADDRESS = auto()
    DROP_NO_LISTENER = auto()
    DROP_NOT_ASSIGNED = auto()
