from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ambient.core.errors import ConfigError
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import bundle, csr, issue, rotation, verify

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WEB = SpiffeId("cluster.local", "shop", "web")
NODE = NodeId("cluster.local", "n1")
AUTHORITY = issue.new_authority("cluster.local", NOW)
STRANGER = issue.new_authority("cluster.local", NOW, name=AUTHORITY.root.subject)
REQUEST = csr.new_request(WEB)


def signed(identity=WEB, request=REQUEST, authority=AUTHORITY, now=NOW, lifetime=DAY):
    return issue.issue(authority, issue.requested_key(request.csr_pem), identity, now, lifetime)


def with_names(*names):
    key = csr.new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(AUTHORITY.root.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    return builder.sign(AUTHORITY.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def uri(text):
    return x509.UniformResourceIdentifier(text)


def test_a_leaf_is_what_both_ends_of_tls_want():
    leaf = x509.load_pem_x509_certificate(signed()[0])
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [uri("spiffe://cluster.local/ns/shop/sa/web")]
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW - issue.BACKDATE, NOW + DAY)


def test_the_authority_decides_the_identity_whatever_the_request_says():
    assert verify.identity_of(signed(SpiffeId("cluster.local", "other", "one"))[0]) == SpiffeId(
        "cluster.local", "other", "one"
    )


def test_a_leaf_never_outlives_the_root():
    leaf = x509.load_pem_x509_certificate(signed(lifetime=timedelta(days=9999))[0])
    assert leaf.not_valid_after_utc == AUTHORITY.root.not_valid_after_utc
    with pytest.raises(issue.AuthorityEnding, match=r"ends at 2035-.*, too soon to sign with it"):
        signed(now=NOW + timedelta(days=9999))


def test_a_server_is_known_by_its_names_and_one_that_every_client_expects():
    shown = issue.issue_server(AUTHORITY, "cluster.local", ["10.0.0.1", "fd00::1", "mesh.example"], NOW)
    names = (
        x509.load_pem_x509_certificate(shown.chain_pem)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["ambient-control", "mesh.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "fd00::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/control"]
    with pytest.raises(ConfigError, match="neither an IP address nor a DNS name"):
        issue.issue_server(AUTHORITY, "cluster.local", ["höst"], NOW)


def _csr(key):
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def _forged():
    lines = _csr(csr.new_key()).decode().splitlines()
    lines[-2] = ("B" if lines[-2][4] == "A" else "A").join((lines[-2][:4], lines[-2][5:]))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("request_pem", "message"),
    [
        pytest.param(b"", "not a PEM", id="empty"),
        pytest.param(b"\x00\xff" * 50, "not a PEM", id="garbage"),
        pytest.param(AUTHORITY.root_pem, "not a PEM", id="a-certificate"),
        pytest.param(_forged(), "not signed by its own key|not a PEM", id="forged"),
        pytest.param(_csr(rsa.generate_private_key(65537, 1024)), "too weak", id="weak-rsa"),
        pytest.param(_csr(ec.generate_private_key(ec.SECP256K1())), "unknown kind", id="odd-curve"),
    ],
)
def test_a_request_that_proves_nothing_is_refused(request_pem, message):
    with pytest.raises(issue.BadRequest, match=message):
        issue.requested_key(request_pem)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        pytest.param(with_names(), "has 0 URI names", id="no-san"),
        pytest.param(with_names(x509.DNSName("a.b")), "has 0 URI names", id="dns-only"),
        pytest.param(with_names(uri(str(WEB)), uri(str(NODE))), "has 2 URI names", id="two"),
        pytest.param(with_names(uri("https://a/b")), "not a SPIFFE", id="https"),
        pytest.param(with_names(uri(str(NODE))), "not a workload's", id="a-node"),
        pytest.param(b"junk", "cannot be read", id="junk"),
    ],
)
def test_a_certificate_proves_one_workload_or_nothing(leaf, message):
    with pytest.raises(verify.BadCertificate, match=message):
        verify.identity_of(leaf)


def test_a_workload_is_never_taken_for_a_node():
    assert verify.node_of(signed(NODE)[0]) == NODE
    with pytest.raises(verify.BadCertificate, match="not a node's"):
        verify.node_of(signed(WEB)[0])


@pytest.mark.parametrize(
    ("chain", "at"),
    [
        pytest.param(signed(authority=STRANGER), NOW, id="another-root-of-that-name"),
        pytest.param(signed(), NOW + DAY + timedelta(seconds=1), id="expired"),
        pytest.param(signed(), NOW - timedelta(hours=1), id="not-yet"),
        pytest.param((), NOW, id="nothing"),
    ],
)
def test_a_chain_that_leads_nowhere_is_refused(chain, at):
    verify.check_chain(signed(), AUTHORITY.root_pem, NOW)
    with pytest.raises(verify.BadCertificate):
        verify.check_chain(chain, AUTHORITY.root_pem, at)


def test_a_peer_of_another_trust_domain_is_refused():
    verify.check_trust_domain(WEB, NODE)
    with pytest.raises(verify.TrustDomainMismatch, match=r"is not of trust domain cluster\.local"):
        verify.check_trust_domain(WEB, SpiffeId("elsewhere", "shop", "web"))


def test_credentials_survive_the_deposit():
    held = bundle.Credentials.of(WEB, REQUEST.key_pem, signed(), AUTHORITY.root_pem, NOW)
    assert bundle.Credentials.from_bytes(held.to_bytes()) == held
    assert held.chain_pem.count(b"BEGIN CERTIFICATE") == 1
    assert "PRIVATE" not in repr(held)
    assert (held.is_expired(NOW), held.is_expired(NOW + DAY)) == (False, True)


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        pytest.param(
            signed(NODE), REQUEST.key_pem, "got one of spiffe://cluster.local/node/n1", id="identity"
        ),
        pytest.param(signed(), csr.new_request(WEB).key_pem, "is for another key", id="key"),
    ],
)
def test_an_answer_for_someone_else_is_refused(chain, key, message):
    with pytest.raises(bundle.WrongIdentity, match=message):
        bundle.Credentials.of(WEB, key, chain, AUTHORITY.root_pem, NOW)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"identity": 1}', b"\xff"])
def test_bytes_that_are_no_credentials_are_refused(content):
    with pytest.raises(verify.BadCertificate):
        bundle.Credentials.from_bytes(content)


def test_an_authority_survives_its_files():
    again = issue.Authority.from_pem(AUTHORITY.key_pem, AUTHORITY.root_pem)
    assert again.root == AUTHORITY.root
    with pytest.raises(ConfigError, match="certificate is not of its key"):
        issue.Authority.from_pem(AUTHORITY.key_pem, STRANGER.root_pem)


@pytest.mark.parametrize("seconds", [10, 60, 3600, 86400])
@pytest.mark.parametrize("jitter", [-1, 0, 1])
def test_renewal_is_never_due_at_birth(seconds, jitter):
    leaf = verify.load(signed(lifetime=timedelta(seconds=seconds))[0])
    due = rotation.next_renewal(leaf.not_valid_before_utc, leaf.not_valid_after_utc, jitter)
    assert NOW + timedelta(seconds=seconds / 4) < due < NOW + timedelta(seconds=seconds * 3 / 4)


@pytest.mark.parametrize(("jitter", "hours"), [(0, 12), (1, 14.4), (-1, 9.6), (0.5, 13.2)])
def test_renewal_is_at_half_life_moved_by_a_tenth_at_most(jitter, hours):
    assert rotation.next_renewal(NOW, NOW + DAY, jitter) == NOW + timedelta(hours=hours)


def test_jitter_has_bounds():
    with pytest.raises(ValueError, match="jitter"):
        rotation.next_renewal(NOW, NOW + DAY, 1.1)


def test_any_of_several_roots_is_believed():
    both = STRANGER.root_pem + AUTHORITY.root_pem
    verify.check_chain(signed(), both, NOW)
    verify.check_chain(signed(authority=STRANGER), both, NOW)
    with pytest.raises(verify.BadCertificate):
        verify.check_chain(signed(authority=issue.new_authority("cluster.local", NOW)), both, NOW)


def test_an_empty_answer_of_the_authority_is_refused():
    with pytest.raises(verify.BadCertificate, match="there is no certificate"):
        bundle.Credentials.of(WEB, REQUEST.key_pem, (), AUTHORITY.root_pem, NOW)
