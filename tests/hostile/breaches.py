"""Scripts of frames that break RFC 9113, for whichever use of HTTP/2, and what must become of them.

``fields`` are those of a request that is in order and has a body, or a tunnel.
"""

from __future__ import annotations

import struct

from hostile.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Fields,
    frame,
    request,
    reset,
    settings,
    window_update,
)

ENDED = END_HEADERS | END_STREAM


def connection_errors(fields: Fields) -> dict[str, tuple[bytes, int]]:
    """What ends a server's connection, and the error code of its GOAWAY."""
    opened, begun = request(1, fields), request(1, fields, flags=0)
    return {
        # 4.2 and 4.3: sizes and header compression
        "frame-larger-than-allowed": (frame(DATA, 1, bytes(32768)), FRAME_SIZE_ERROR),
        "index-of-no-entry": (frame(HEADERS, 1, b"\xff\x80\x01", END_HEADERS), COMPRESSION_ERROR),
        "table-larger-than-allowed": (frame(HEADERS, 1, b"\x3f\xe1\xff\x7f", END_HEADERS), COMPRESSION_ERROR),
        "huffman-with-end-of-string": (
            frame(HEADERS, 1, b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff", END_HEADERS),
            COMPRESSION_ERROR,
        ),
        # 4.3 and 6.10: header blocks
        "unknown-frame-inside-a-header-block": (begun + frame(0xEE, 0, b"x"), PROTOCOL_ERROR),
        "headers-inside-a-header-block": (begun + request(3, fields), PROTOCOL_ERROR),
        "data-inside-a-header-block": (begun + frame(DATA, 1, b"x"), PROTOCOL_ERROR),
        "continuation-of-another-stream": (
            begun + frame(CONTINUATION, 3, b"", END_HEADERS),
            PROTOCOL_ERROR,
        ),
        "continuation-after-the-end": (opened + frame(CONTINUATION, 1, b"", END_HEADERS), PROTOCOL_ERROR),
        "continuation-on-stream-zero": (begun + frame(CONTINUATION, 0, b"", END_HEADERS), PROTOCOL_ERROR),
        "table-changed-within-a-block": (
            frame(HEADERS, 1, request(1, fields)[9:] + b"\x20", END_HEADERS),
            COMPRESSION_ERROR,
        ),
        "headers-larger-than-allowed": (frame(HEADERS, 1, bytes(16385), END_HEADERS), FRAME_SIZE_ERROR),
        "padding-longer-than-the-headers": (
            frame(HEADERS, 1, b"\xff" + request(1, fields)[9:], END_HEADERS | PADDED),
            PROTOCOL_ERROR,
        ),
        # 5.1: states of streams
        "data-on-an-idle-stream": (frame(DATA, 1, b"x"), PROTOCOL_ERROR),
        "reset-of-an-idle-stream": (reset(1), PROTOCOL_ERROR),
        "window-update-of-an-idle-stream": (window_update(1, 1), PROTOCOL_ERROR),
        "continuation-of-an-idle-stream": (frame(CONTINUATION, 1, b"\x82", END_HEADERS), PROTOCOL_ERROR),
        "data-on-a-half-closed-stream": (
            request(1, fields, flags=ENDED) + frame(DATA, 1, b"x"),
            STREAM_CLOSED,
        ),
        "headers-on-a-half-closed-stream": (
            request(1, fields, flags=ENDED) + request(1, fields, flags=ENDED),
            STREAM_CLOSED,
        ),
        # 5.1.1: identifiers
        "even-stream": (request(2, fields), PROTOCOL_ERROR),
        # 6.1 - 6.10: frames
        "data-on-stream-zero": (frame(DATA, 0, b"x"), PROTOCOL_ERROR),
        "headers-on-stream-zero": (request(0, fields), PROTOCOL_ERROR),
        "padding-longer-than-the-frame": (opened + frame(DATA, 1, b"\x05xx", PADDED), PROTOCOL_ERROR),
        "priority-of-four-bytes": (frame(PRIORITY, 1, bytes(4)), FRAME_SIZE_ERROR),
        "reset-of-three-bytes": (opened + frame(RST_STREAM, 1, bytes(3)), FRAME_SIZE_ERROR),
        "settings-on-a-stream": (frame(SETTINGS, 1), PROTOCOL_ERROR),
        "settings-of-five-bytes": (frame(SETTINGS, 0, bytes(5)), FRAME_SIZE_ERROR),
        "acknowledged-settings-with-content": (frame(SETTINGS, 0, bytes(6), 1), FRAME_SIZE_ERROR),
        "push-that-is-neither-0-nor-1": (settings((2, 2)), PROTOCOL_ERROR),
        "window-of-2-to-the-31": (settings((4, 2**31)), FLOW_CONTROL_ERROR),
        "frame-size-below-16-kib": (settings((5, 16383)), PROTOCOL_ERROR),
        "push-promise-to-a-server": (frame(PUSH_PROMISE, 1, bytes(4), END_HEADERS), PROTOCOL_ERROR),
        "ping-on-a-stream": (frame(PING, 1, bytes(8)), PROTOCOL_ERROR),
        "ping-of-seven-bytes": (frame(PING, 0, bytes(7)), FRAME_SIZE_ERROR),
        "reset-on-stream-zero": (reset(0), PROTOCOL_ERROR),
        "goaway-of-seven-bytes": (frame(GOAWAY, 0, bytes(7)), FRAME_SIZE_ERROR),
        "frame-size-above-16-mib": (settings((5, 2**24)), PROTOCOL_ERROR),
        "settings-acknowledged-that-were-never-sent": (frame(SETTINGS, flags=ACK) * 3, PROTOCOL_ERROR),
        "goaway-on-a-stream": (frame(GOAWAY, 1, bytes(8)), PROTOCOL_ERROR),
        "window-update-of-nothing": (window_update(0, 0), PROTOCOL_ERROR),
        "window-update-of-three-bytes": (frame(WINDOW_UPDATE, 0, bytes(3)), FRAME_SIZE_ERROR),
        "window-beyond-its-limit": (window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
        "frame-inside-a-header-block": (
            request(1, fields, flags=0) + frame(PING, 0, bytes(8)),
            PROTOCOL_ERROR,
        ),
        "more-data-than-the-window": (opened + frame(DATA, 1, bytes(16384)) * 17, FLOW_CONTROL_ERROR),
        # MadeYouReset: what tempts a server to reset a stream itself, which frees its place and not its work.
        "made-you-reset-by-window-update-0": (opened + window_update(1, 0), PROTOCOL_ERROR),
        "made-you-reset-by-a-zero-priority": (opened + frame(PRIORITY, 1, b""), FRAME_SIZE_ERROR),
        "settings-of-forty": (settings(*((100 + i, 1) for i in range(40))), ENHANCE_YOUR_CALM),
    }


def malformed(fields: Fields) -> dict[str, bytes]:
    """Requests on stream 1 that a server resets and nobody hears of."""

    def with_field(name: str, value: str) -> bytes:
        return request(1, (*fields, (name, value)))

    def with_other(name: str, value: str) -> bytes:
        return request(1, [(one, value if one == name else kept) for one, kept in fields])

    return {
        "no-method": request(1, [field for field in fields if field[0] != ":method"]),
        "upper-case-name": with_field("Upper", "x"),
        "unknown-pseudo-field": with_field(":other", "x"),
        "pseudo-field-of-a-response": with_field(":status", "200"),
        "pseudo-field-twice": with_field(":authority", "10.0.0.2:80"),
        "pseudo-field-after-others": request(1, (("x", "y"), *fields)),
        "connection-field": with_field("connection", "keep-alive"),
        "transfer-encoding": with_field("transfer-encoding", "chunked"),
        "te-that-is-not-trailers": with_field("te", "gzip"),
        "line-break-in-a-value": with_field("baggage", "a\r\nb: c"),
        "nul-in-a-value": with_field("baggage", "a\0b"),
        "line-break-in-the-authority": with_other(":authority", "10.0.0.1:80\r\nx: y"),
        "empty-name": with_field("", "x"),
        "empty-header-block": frame(HEADERS, 1, b"", END_HEADERS),
    }


FROM_A_SERVER = {
    "push-promise": (frame(SETTINGS, flags=ACK) + frame(PUSH_PROMISE, 1, struct.pack("!I", 2) + b"\x82", END_HEADERS), PROTOCOL_ERROR),
    "request": (request(2), PROTOCOL_ERROR),
    "answer-to-nothing": (frame(HEADERS, 7, b"\x88", END_HEADERS), PROTOCOL_ERROR),
    "data-before-an-answer": (frame(DATA, 1, b"x"), PROTOCOL_ERROR),
    "more-than-the-window": (frame(HEADERS, 1, b"\x88", END_HEADERS) + frame(DATA, 1, bytes(16384)) * 17, FLOW_CONTROL_ERROR),
    "frame-larger-than-allowed": (frame(HEADERS, 1, bytes(32768)), FRAME_SIZE_ERROR),
    "pushes-enabled": (settings((2, 1)), PROTOCOL_ERROR),
}  # fmt: skip
