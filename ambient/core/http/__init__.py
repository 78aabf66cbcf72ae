"""HTTP/1.1 and HTTP/2, sans-IO: bytes in, events out, the same events for both."""
