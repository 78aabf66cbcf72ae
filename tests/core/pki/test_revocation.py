"""Whom a list of revoked certificates is about, and which lists are believed."""

from datetime import UTC, datetime, timedelta

import pytest
from core.pki.authorities import credentials, intermediate, revocation_list, serial
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ambient.core.errors import ConfigError
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import issue
from ambient.core.pki.revocation import NONE, Revocations, Revoked
from ambient.core.pki.verify import load

NOW = datetime.now(UTC)
ROOT = issue.new_authority("cluster.local", NOW)
NAMESAKE = issue.new_authority("cluster.local", NOW, name=ROOT.root.subject)
"""Another root of the same name."""
MIDDLE = intermediate(ROOT)
LOWER = intermediate(MIDDLE, "lower")
WEB = credentials(SpiffeId("cluster.local", "shop", "web"), ROOT)
API = credentials(SpiffeId("cluster.local", "shop", "api"), ROOT)
FAR = credentials(SpiffeId("cluster.local", "shop", "far"), LOWER, MIDDLE, ROOT)


def chain_of(held, root=ROOT):
    chain = x509.load_pem_x509_certificates(held.chain_pem)
    return tuple(one.public_bytes(Encoding.DER) for one in (*chain, root.root))


def is_revoked(pem, chain):
    try:
        Revocations.from_pem(pem).check(chain)
    except Revoked:
        return True
    return False


@pytest.mark.parametrize(
    ("pem", "chain", "expected"),
    [
        pytest.param(b"", chain_of(WEB), False, id="no-list"),
        pytest.param(revocation_list(ROOT), chain_of(WEB), False, id="empty-list"),
        pytest.param(revocation_list(ROOT, serial(WEB)), chain_of(WEB), True, id="leaf"),
        pytest.param(revocation_list(ROOT, serial(WEB)), chain_of(API), False, id="sibling"),
        pytest.param(revocation_list(ROOT, 1, serial(API), 2), chain_of(API), True, id="among-others"),
        pytest.param(revocation_list(LOWER, serial(FAR)), chain_of(FAR), True, id="leaf-of-an-intermediate"),
        pytest.param(revocation_list(ROOT, serial(FAR)), chain_of(FAR), False, id="leaf-on-another-authoritys-list"),
        pytest.param(revocation_list(MIDDLE, LOWER.root.serial_number), chain_of(FAR), True, id="lower-intermediate"),
        pytest.param(revocation_list(ROOT, MIDDLE.root.serial_number), chain_of(FAR), True, id="upper-intermediate"),
        pytest.param(revocation_list(ROOT, MIDDLE.root.serial_number), chain_of(WEB), False, id="not-through-the-intermediate"),
        pytest.param(revocation_list(ROOT, ROOT.root.serial_number), chain_of(WEB), False, id="a-root-revokes-not-itself"),
        pytest.param(revocation_list(NAMESAKE, serial(WEB)), chain_of(WEB), False, id="list-of-a-namesake"),
        pytest.param(revocation_list(ROOT, serial(WEB), signed_by=MIDDLE), chain_of(WEB), False, id="signed-by-another"),
        pytest.param(revocation_list(NAMESAKE, 5) + revocation_list(ROOT, serial(WEB)), chain_of(WEB), True, id="two-lists"),
        pytest.param(b"a word\n" + revocation_list(ROOT, serial(WEB)) + b"\nbye\n", chain_of(WEB), True, id="with-words-around"),
        pytest.param(
            revocation_list(ROOT, serial(WEB), next_update=NOW - timedelta(days=1)), chain_of(WEB), True, id="overdue"
        ),
    ],
)  # fmt: skip
def test_who_is_revoked(pem, chain, expected):
    assert is_revoked(pem, chain) is expected


def test_the_error_names_the_certificate_and_its_authority():
    with pytest.raises(Revoked, match="peer certificate revoked by CRL") as raised:
        Revocations.from_pem(revocation_list(ROOT, serial(WEB))).check(chain_of(WEB))
    assert f"{serial(WEB):x}" in str(raised.value)
    assert "O=cluster.local" in str(raised.value)
    assert raised.value.reason == "cert_revoked"


def test_the_same_lists_answer_the_same_twice():
    lists = Revocations.from_pem(revocation_list(ROOT, serial(WEB)) + revocation_list(NAMESAKE, serial(API)))
    for _ in range(2):
        with pytest.raises(Revoked):
            lists.check(chain_of(WEB))
        lists.check(chain_of(API))


GOOD = revocation_list(ROOT, serial(WEB))
INDIRECT = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
USERS_ONLY = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


@pytest.mark.parametrize(
    ("pem", "sentence"),
    [
        pytest.param(b"nothing of the kind", "no list in PEM", id="words"),
        pytest.param(load(ROOT.root_pem).public_bytes(Encoding.DER), "no list in PEM", id="der"),
        pytest.param(ROOT.root_pem, "it holds a CERTIFICATE", id="certificate"),
        pytest.param(ROOT.key_pem, "it holds a PRIVATE KEY", id="key"),
        pytest.param(GOOD[: len(GOOD) // 2], "cannot be read", id="half"),
        pytest.param(GOOD + GOOD[:100], "cannot be read", id="whole-and-half"),
        pytest.param(
            pkcs7.serialize_certificates([ROOT.root], Encoding.PEM), "it holds a PKCS7", id="pkcs7"
        ),
        pytest.param(
            revocation_list(ROOT, 1, extensions=[(x509.DeltaCRLIndicator(3), True)]), "only changes", id="delta"
        ),
        pytest.param(revocation_list(ROOT, 1, extensions=[(INDIRECT, True)]), "other authorities", id="indirect"),
        pytest.param(revocation_list(ROOT, 1, extensions=[(STRANGE, True)]), "1.2.3.4.5", id="unknown-and-critical"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_with_a_remedy(pem, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Revocations.from_pem(pem)


@pytest.mark.parametrize("extension", [(USERS_ONLY, True), (STRANGE, False), (x509.CRLNumber(7), False)])
def test_extensions_that_take_nothing_back_are_no_obstacle(extension):
    assert len(Revocations.from_pem(revocation_list(ROOT, 1, extensions=[extension]))) == 1


def test_a_list_in_a_roots_name_must_be_signed_by_a_root():
    forged = Revocations.from_pem(revocation_list(ROOT, 1, signed_by=MIDDLE))
    with pytest.raises(ConfigError, match=r"the list of CN=.*O=.* is not signed by the root of that name"):
        forged.check_signed_by(ROOT.root_pem)
    assert Revocations.from_pem(GOOD).check_signed_by(NAMESAKE.root_pem + ROOT.root_pem) == ()
    assert Revocations.from_pem(revocation_list(MIDDLE, 1)).check_signed_by(ROOT.root_pem) == (
        "CN=intermediate",
    )


@pytest.mark.parametrize(
    ("pem", "held", "expected"),
    [
        pytest.param(revocation_list(ROOT, serial(WEB)), WEB, True, id="leaf"),
        pytest.param(revocation_list(ROOT, serial(WEB)), API, False, id="sibling"),
        pytest.param(revocation_list(MIDDLE, LOWER.root.serial_number), FAR, True, id="intermediate"),
        pytest.param(revocation_list(NAMESAKE, serial(WEB)), WEB, False, id="list-of-a-namesake"),
        pytest.param(b"", WEB, False, id="no-list"),
    ],
)
def test_credentials_of_our_own_may_be_revoked(pem, held, expected):
    roots = NAMESAKE.root_pem + held.roots_pem
    assert Revocations.from_pem(pem).covers(held.chain_pem, roots) is expected


def test_an_overdue_list_is_named():
    lists = Revocations.from_pem(
        revocation_list(MIDDLE, 1, next_update=NOW - timedelta(hours=1)) + revocation_list(ROOT, 1)
    )
    assert lists.overdue(NOW) == ("CN=intermediate",)
    assert lists.overdue(NOW - timedelta(hours=2)) == ()
    assert NONE.overdue(NOW) == ()
