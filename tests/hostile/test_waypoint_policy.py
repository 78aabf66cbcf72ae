"""Requests that try to be another thing to policies than to the server, at a real waypoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hostile.waypoint import Answer, Scene, asked, everything
from hostile.waypoint_policies import ISSUER, KEY
from joserfc.jwk import RSAKey
from topology.nodes import Pod

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")


@pytest.fixture
def scene(behind_a_waypoint: Scene) -> Scene:
    return behind_a_waypoint


LAST = b"connection: close"


def get(
    scene: Scene, service: str, path: str, *lines: bytes, host: bytes = b"server"
) -> tuple[Answer, list[dict[str, Any]]]:
    """What the client hears, and what of it the server does. The query marks it."""
    mark = scene.mark()
    first = b"GET %s?%s HTTP/1.1" % (path.encode("latin-1"), mark)
    answer = scene.say(asked(b"host: " + host, *lines, LAST, first=first), service)
    return answer, scene.requests(mark)


PATHS: dict[str, tuple[str, int, str]] = {
    # what is asked for, the answer, and what the server sees
    "the-path": ("/admin", 403, ""),
    "below-it": ("/admin/x", 403, ""),
    "beside-it": ("/administrator", 200, "/administrator"),
    "dots": ("/a/../admin", 403, ""),
    "dots-behind-it": ("/admin/../a", 200, "/a"),
    "dots-above-the-root": ("/../../admin", 403, ""),
    "one-dot": ("/./admin", 403, ""),
    "escaped-dots": ("/a/%2e%2E/admin", 403, ""),
    "half-escaped-dots": ("/a/.%2e/admin", 403, ""),
    "two-slashes": ("//admin", 403, ""),
    "slashes-everywhere": ("///admin//", 403, ""),
    "escaped-letter": ("/%61dmin", 403, ""),
    "all-escaped": ("/%61%64%6d%69%6e", 403, ""),
    "twice-escaped": ("/%2561dmin", 200, "/%2561dmin"),
    "backslash": ("/\\admin", 403, ""),
    "backslashes-and-dots": ("/a\\..\\admin", 403, ""),
    "escaped-slash": ("/admin%2fx", 400, ""),
    "escaped-slash-before": ("/a%2F..%2Fadmin", 400, ""),
    "escaped-backslash": ("/%5cadmin", 400, ""),
    "escaped-nul": ("/admin%00", 400, ""),
    "half-an-escape": ("/admi%6", 400, ""),
    "no-escape": ("/%zzadmin", 400, ""),
    "dots-with-parameters": ("/a/..;x/admin", 400, ""),
    "parameters": ("/admin;x", 200, "/admin;x"),
    "upper-case": ("/ADMIN", 200, "/ADMIN"),
    "fragment": ("/admin#", 400, ""),
    "overlong-utf-8": ("/%c0%afadmin", 200, "/%C0%AFadmin"),
    "bytes-beyond-ascii": ("/\xe1dmin", 400, ""),
    "absolute": ("http://server/admin", 403, ""),
    "absolute-with-dots": ("http://server/a/../admin", 403, ""),
}


@pytest.mark.parametrize(("path", "status", "seen"), list(PATHS.values()), ids=PATHS)
def test_policies_and_server_see_the_same_path(scene: Scene, path: str, status: int, seen: str) -> None:
    answer, requests = get(scene, "guarded", path)
    assert answer.statuses == [status], answer
    assert [one["line"].split("?")[0] for one in requests] == ([f"GET {seen}"] if seen else [])


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"GET /admin HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n", id="http"),
        pytest.param(b"\r\n\r\n\r\nGET /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="empty-lines-before"),
        pytest.param(b"\nGET /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="line-feed-before"),
        pytest.param(b" GET /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="space-before"),
        pytest.param(b"get /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="lower-case"),
        pytest.param(b"GET /admin\r\n\r\n", id="http-0.9"),
        pytest.param(b"GET  /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="two-spaces"),
        pytest.param(b"\x16\x03\x01GET /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="like-tls"),
        pytest.param(b"\0GET /admin HTTP/1.1\r\nhost: server\r\n\r\n", id="like-nothing"),
    ],
)
def test_what_does_not_look_like_http_does_not_get_past_a_policy_about_it(scene: Scene, first: bytes) -> None:
    """The port says nothing of itself: what is not seen to be HTTP may be all that the policy forbids."""
    mark = scene.mark()
    with scene.connect("undeclared") as connection:
        connection.sendall(first.replace(b"/admin", b"/admin/" + mark))
        answer = everything(connection, 8)
    assert answer.how != "open"
    assert set(answer.statuses) <= {400, 403, 501}
    assert scene.heard(mark) == ""


def test_what_is_allowed_on_such_a_port_passes(scene: Scene) -> None:
    answer, requests = get(scene, "undeclared", "/a")
    assert answer.statuses == [200]
    assert len(requests) == 1


@pytest.mark.parametrize(
    "host",
    [
        "secret.example",
        "SECRET.example",
        "secret.example:80",
        "secret.example:8080",
        "secret.example.",
        "secret.example.:80",
    ],
)
def test_a_host_that_is_denied_is_denied_however_it_is_written(scene: Scene, host: str) -> None:
    answer, requests = get(scene, "hosts", "/", host=host.encode())
    assert set(answer.statuses) <= {400, 403}
    assert requests == []
    assert get(scene, "hosts", "/", host=b"open.example")[0].statuses == [200]


ROLES: dict[str, tuple[str, tuple[bytes, ...], int]] = {
    "none-where-one-is-wanted": ("roles", (), 403),
    "the-one": ("roles", (b"x-role: admin",), 200),
    "in-capitals": ("roles", (b"X-ROLE: admin",), 200),
    "two": ("roles", (b"x-role: user", b"x-role: admin"), 403),
    "two-the-other-way": ("roles", (b"x-role: admin", b"x-role: user"), 403),
    "twice-the-same": ("roles", (b"x-role: admin", b"x-role: admin"), 403),
    "underscore": ("roles", (b"x_role: admin",), 400),
    "nominated-away": ("roles", (b"x-role: admin", b"connection: x-role"), 403),
    "none-where-another-is-denied": ("negative", (), 403),
    "not-the-other": ("negative", (b"x-role: user",), 200),
    "the-other": ("negative", (b"x-role: root",), 403),
    "both": ("negative", (b"x-role: user", b"x-role: root"), 403),
}


@pytest.mark.parametrize(("service", "lines", "status"), list(ROLES.values()), ids=ROLES)
def test_policies_see_a_header_as_the_server_does(
    scene: Scene, service: str, lines: tuple[bytes, ...], status: int
) -> None:
    answer, requests = get(scene, service, "/", *lines)
    assert answer.statuses == [status], answer
    assert len(requests) == (1 if status == 200 else 0)


# ---- tokens


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: Mapping[str, object], claims: Mapping[str, object], sign: Callable[[bytes], bytes]) -> str:
    """Written by hand: a library would not."""
    said = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{said}.{encoded(sign(said.encode()))}"


def with_secret(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda said: hmac.new(secret, said, hashlib.sha256).digest()


def unsigned(_: bytes) -> bytes:
    return b""


def signed(key: RSAKey = KEY, header: Mapping[str, object] | None = None, **claims: object) -> str:
    whole = {"iss": ISSUER, "sub": "me", "exp": int(time.time()) + 3600, **claims}
    return raw(
        {"alg": "RS256", "kid": "one", **(header or {})},
        whole,
        lambda said: key.private_key.sign(said, PKCS1v15(), SHA256()),
    )


def bad_tokens() -> dict[str, str]:
    claims = {"iss": ISSUER, "sub": "me", "exp": int(time.time()) + 3600}
    now = int(time.time())
    good = signed()
    head, body, signature = good.split(".")
    other = json.loads(base64.urlsafe_b64decode(body + "=="))
    return {
        "none": raw({"alg": "none"}, claims, unsigned),
        "none-in-capitals": raw({"alg": "NONE", "kid": "one"}, claims, unsigned),
        "public-key-as-secret": raw(
            {"alg": "HS256", "kid": "one"}, claims, with_secret(KEY.as_pem(private=False))
        ),
        "no-signature": f"{head}.{body}.",
        "another-body": f"{head}.{encoded(json.dumps({**other, 'sub': 'root'}).encode())}.{signature}",
        "another-key": signed(RSAKey.generate_key(2048, {"kid": "one"}, private=True)),
        "key-of-its-own": signed(
            stranger := RSAKey.generate_key(2048, {"kid": "own"}, private=True),
            {"jwk": stranger.as_dict(private=False), "kid": "own"},
        ),
        "key-from-a-file": raw({"alg": "HS256", "kid": "../../../../dev/null"}, claims, with_secret(b"\0")),
        "keys-from-elsewhere": signed(header={"jku": "http://169.254.169.254/keys", "kid": "x"}),
        "expired": signed(exp=now - 3600),
        "not-yet": signed(nbf=now + 3600),
        "another-issuer": signed(iss="https://evil.example"),
        "no-issuer": signed(iss=None),
        "huge": signed(x="y" * 20_000),
        "no-token": "x",
        "two-parts": "a.b",
        "critical": signed(header={"crit": ["x"], "x": 1}),
    }


BAD_TOKENS = bad_tokens()


@pytest.mark.parametrize("token", list(BAD_TOKENS.values()), ids=BAD_TOKENS)
def test_a_token_that_proves_nothing_opens_nothing(scene: Scene, token: str) -> None:
    answer, requests = get(scene, "tokens", "/", b"authorization: Bearer " + token.encode())
    assert answer.statuses[0] in {401, 403}, answer
    assert requests == []


def test_a_good_token_opens_and_none_does_not(scene: Scene) -> None:
    assert get(scene, "tokens", "/", b"authorization: Bearer " + signed().encode())[0].statuses == [200]
    assert get(scene, "tokens", "/")[0].statuses == [403]
    both = [b"authorization: Bearer " + token.encode() for token in (signed(), BAD_TOKENS["another-key"])]
    assert get(scene, "tokens", "/", *both)[0].statuses == [401]
    assert get(scene, "tokens", "/", *reversed(both))[0].statuses == [401]


# ---- what it costs, and what is told


def test_a_pattern_that_branches_is_matched_in_its_length(scene: Scene) -> None:
    began = time.monotonic()
    assert get(scene, "patterns", "/" + "a" * 6000)[0].statuses == [200]
    assert scene.say(asked(b"host: server", LAST, first=b"GET /aaab HTTP/1.1"), "patterns").statuses == [418]
    assert time.monotonic() - began < 10


def test_what_a_client_says_forges_no_line_of_a_log_and_no_metric(scene: Scene) -> None:
    mark = scene.mark().decode()
    forged = f'/{mark}"}}%0a{{"message":"forged"}}\x7e%1b[31m'
    scene.say(
        asked(
            b"host: server",
            b'user-agent: a"} {"message":"forged\x80\x9b31m',
            LAST,
            first=f"GET {forged} HTTP/1.1".encode("latin-1"),
        )
    )
    scene.replica.wait(lambda: mark.encode() in scene.replica.access_log.read_bytes(), "its line")
    assert scene.replica.access_lines(message="forged") == []
    raw_lines = scene.replica.access_log.read_bytes()
    assert b"\x1b" not in raw_lines
    assert b"\x9b" not in raw_lines


def test_what_a_client_says_makes_no_series_of_a_metric(scene: Scene) -> None:
    before = len(scene.replica.samples())
    for number in range(300):
        answer = scene.say(asked(b"host: h%d.example" % number, LAST, first=b"GET /p%d HTTP/1.1" % number))
        assert answer.statuses == [200]
    assert len(scene.replica.samples()) - before < 100
    labels = [value for one in scene.replica.samples() for value in one.labels.values()]
    assert not any("example" in label or "/p" in label for label in labels)


def test_its_own_page_is_for_its_own_host_alone(scene: Scene) -> None:
    for pod in (scene.attacker, scene.client.pod):
        assert reached(pod, scene.replica.pod.v4, 15020) is False


def reached(pod: Pod, host: object, port: int) -> bool:
    return pod.run("curl", "-s", "-m", "5", f"http://{host}:{port}/config_dump").returncode == 0
