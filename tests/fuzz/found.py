"""Input on which a reader once did neither succeed nor blame the other side."""

from __future__ import annotations

FOUND: dict[str, list[bytes]] = {
    "certificates": [
        b"-----BEGIN CERTIFICATE-----\nMIIBdDCCARqgAwIBAgIUM5Sp7GgCDK/nDfcc6emEQ9ciBwYwCgYIKoZIzj0EAwIw\nGDEWMBQGA1UECgwNY2x1c3Rlci5sb2NhbDAeFw0yNjExMjQwMzU3NDVaFw0zNjEx\nMjEwNDAzNDVaMBgxFjAUBgNVBAoMDWnsdXN0ZXIubG9jYWwwWTATBgcqhkjOPQIB\nBggqhkjOPQMBBwNCAAQU+SlX3Y17RQ/+TyHNDrP4d9bCLLom+ymX+aHsGd1oibNz\n8uyg8TSkB+n5Ak67/Hjfk5wcFulHQr3GbjB6ikJ6o0IwQDAPBgNVHRMBAf8EBTAD\nAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUrucBvm1tpNEWwu/BrQbfoCOV\nyZ4wCgYIKoZIzj0EAwIDSAAwRQIgOTBLcMrd4EYcnF0oc4ue2t8DB0GZp3LNeqcL\nTTS41WsCIQDbMXTh/Z7+/rDcbZexrq+RETO6YCwGS5+HGMvDvkk4mQ==\n-----END CERTIFICATE-----\n"
    ],
    "hbone-client": [
        b"\xff\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x04\x00\x04\x00\x00\x00\x03\x00\x00\x00\xc8\x00\x05\x00\x10\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x05\x00\x00\x00\x00\x00\x01hello\x00\x00\x04\x00\x01\x00\x00\x00\x01"
    ],
    "requests-to-sign": [
        b"-----BEGIN CERTIFICATE REQUEST-----\nMIIBAjCBqAIBADAAMFkwEwYHKoZIzj1CAQYIKoZIzj0DAQcDQgAEdh2O6XsFxXhd\nehQv2vW7p5wwUqMh86v2YFPON0bPJW8zfyNR6Vn+3lGAjb/8aFbzl06BbztMHwPb\n06jL8GurE6BGMEQGCSqGSIb3DQEJDjE3MDUwMwYDVR0RAQH/BCkwJ4Ylc3BpZmZl\nOi8vY2x1c3Rlci5sb2NhbC9ucy9zaG9wL3NhL3dlYjAKBggqhkjOPQQDAgNJADBG\nAiEA7GfewgH1sMlUYG0T1rWE6Gg7MZW6aY6JejYmGYFGdzoCIQCP6/zc9YpJqV6J\nTW8gMqJX3pg6q2JyBdUUPfRKWCZr3A==\n-----END CERTIFICATE REQUEST-----\n"
    ],
}
