"""Who may do what over which door, what the audit log has of it, and how an operator comes in."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from control.test_control import Clock, audited, bootstrap, control_plane, roots

from ambient.core.errors import ConfigError
from ambient.core.join import JoinToken
from ambient.core.model.identity import OperatorId, SpiffeId
from ambient.core.pki import csr, issue
from ambient.core.pki.bundle import Credentials
from ambient.net.roots import WrongRoot, fetch_root
from ambient.rpc import access, configuration, gate, mesh, operator
from ambient.rpc.access import Role
from ambient.rpc.certificates import sign
from ambient.rpc.channel import open_bootstrap_channel, open_channel
from ambient.rpc.configuration import Manifest
from ambient.rpc.errors import NotFound, PermissionDenied, Unauthenticated

NAMESPACE = (Manifest("x.yaml", b"{apiVersion: v1, kind: Namespace, metadata: {name: new}}"),)


async def logged_in(control, tmp_path, role, name="ann"):
    """A profile, by the token that an admin has made."""
    socket = tmp_path / "state" / operator.SOCKET
    async with operator.door(socket) as channel:
        made = await access.create_token(channel, name, role, address="127.0.0.1")
    token = JoinToken.parse(made.join_token)
    root = await fetch_root(token.bootstrap, token.root)
    assert root in roots(control)
    profile = tmp_path / f"{name}.json"
    await operator.login(token, root, profile)
    return profile


@asynccontextmanager
async def channels(tmp_path, **options):
    """A control plane, and a channel for each role."""
    async with control_plane(tmp_path, advertise=("127.0.0.1",), **options) as control:
        admin = await logged_in(control, tmp_path, Role.ADMIN, "ann")
        reader = await logged_in(control, tmp_path, Role.READER, "rob")
        node = await bootstrap(control)
        async with (
            operator.door(admin) as first,
            operator.door(reader) as second,
            open_channel(f"127.0.0.1:{control.node_port}", node) as third,
            operator.door(tmp_path / "state" / operator.SOCKET) as root,
        ):
            yield control, {Role.ADMIN: first, Role.READER: second, Role.NODE: third, None: root}


async def code_of(channel, method):
    """How a call ends whose message is empty: it is let in, or it is refused before anyone reads it."""
    call = channel.stream_stream(f"/{method}")(iter([b""]))
    try:
        async with asyncio.timeout(30):
            await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()
    return grpc.StatusCode.OK


READ = {
    "Validate", "Get", "List", "Watch", "Explain", "Status", "ListNodes", "ListWaypoints", "ListWorkloads", "ListCertificates", "GetStanding",
}  # fmt: skip
WRITE = {
    "Apply", "Delete", "ForgetNode", "RegisterWorkload", "WithdrawWorkload", "CreateToken", "ListTokens",
    "RevokeToken", "ListOperators", "RemoveOperator", "RotateRoot", "RecoverRoot", "RevokeCertificate",
}  # fmt: skip
REFUSED = grpc.StatusCode.PERMISSION_DENIED


async def test_every_method_of_every_door_has_its_roles(tmp_path):
    async with channels(tmp_path) as (_, doors):
        methods = [method for method in gate.METHODS if method.startswith("ambient.control.v1.")]
        assert {method.rpartition("/")[2] for method in methods} == READ | WRITE
        for method in methods:
            let_in = {role: await code_of(channel, method) is not REFUSED for role, channel in doors.items()}
            is_read = method.rpartition("/")[2] in READ
            expected = {None: True, Role.ADMIN: True, Role.READER: is_read, Role.NODE: False}
            assert let_in == expected, method
        for method in (
            "ambient.registry.v1.Registry/Report",
            "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        ):
            let_in = {role: await code_of(doors[role], method) is not REFUSED for role in Role}
            assert let_in == {Role.ADMIN: False, Role.READER: False, Role.NODE: True}, method
        for method in (
            "grpc.health.v1.Health/Watch",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ):
            let_in = {role: await code_of(doors[role], method) is not REFUSED for role in Role}
            assert let_in == {Role.ADMIN: True, Role.READER: True, Role.NODE: False}, method


async def test_what_changes_anything_and_what_is_refused_is_in_the_audit_log(tmp_path):
    async with channels(tmp_path) as (_, doors):
        await mesh.status(doors[Role.READER])
        before = len(audited(tmp_path))
        await configuration.apply(doors[Role.ADMIN], NAMESPACE)
        with pytest.raises(PermissionDenied) as refused:
            await configuration.apply(doors[Role.READER], NAMESPACE)
        assert str(refused.value) == (
            "spiffe://cluster.local/operator/rob has the role reader, and ambient.control.v1.Configuration/Apply needs "
            "admin; ask somebody who has it"
        )
        with pytest.raises(NotFound):
            await mesh.withdraw_workload(doors[None], "shop", "nobody")
        # A refusal is noted when it is on its way.
        async with asyncio.timeout(10):
            while len(lines := audited(tmp_path)[before:]) < 3:
                await asyncio.sleep(0.01)
        assert [(line["message"], line["method"].rpartition("/")[2]) for line in lines] == [
            ("call", "Apply"),
            ("call refused", "Apply"),
            ("call refused", "WithdrawWorkload"),
        ]
        assert lines[0]["caller"] == "spiffe://cluster.local/operator/ann"
        assert (lines[0]["objects"], lines[0]["applied"]) == ("Namespace /new", "true")
        assert lines[0]["peer"].startswith("ipv4:127.0.0.1:")
        assert lines[1]["why"] == str(refused.value)
        assert (lines[2]["caller"], lines[2]["why"]) == (
            "root",
            "no workload local/ambient.dev/Workload/shop/nobody was registered with the API",
        )


async def test_the_audit_log_has_no_secret(tmp_path):
    async with channels(tmp_path) as (_, doors):
        made = await access.create_token(doors[Role.ADMIN], "n2", Role.NODE)
        log = (tmp_path / "state" / "audit.log").read_text()
        assert made.id in log
        assert made.token not in log
        assert made.join_token not in log


async def test_an_operator_that_is_removed_is_nobody_from_the_next_call_on(tmp_path):
    async with channels(tmp_path) as (_, doors):
        names = [(one.name, one.role) for one in await access.operators(doors[Role.ADMIN])]
        assert names == [("ann", Role.ADMIN), ("rob", Role.READER)]
        waiting = await access.create_token(doors[Role.ADMIN], "rob", Role.ADMIN)
        await access.remove_operator(doors[Role.ADMIN], "rob")
        with pytest.raises(Unauthenticated, match="rob is an operator no more; ask an admin for a token"):
            await mesh.status(doors[Role.READER])
        assert waiting.id not in [one.id for one in await access.tokens(doors[Role.ADMIN])]
        with pytest.raises(NotFound, match="there is no operator 'rob'"):
            await access.remove_operator(doors[Role.ADMIN], "rob")


async def test_a_role_is_the_control_planes_to_say_and_may_change(tmp_path):
    async with channels(tmp_path) as (control, doors):
        await logged_in(control, tmp_path, Role.ADMIN, "rob")
        assert (await configuration.apply(doors[Role.READER], NAMESPACE)).applied


async def test_a_certificate_that_nobody_was_made_an_operator_with_opens_nothing(tmp_path):
    async with control_plane(tmp_path) as control:
        nobody = OperatorId("cluster.local", "eve")
        request = csr.new_request(nobody)
        chain = issue.issue(
            control._trust.signer, issue.requested_key(request.csr_pem), nobody, datetime.now(UTC)
        )
        held = Credentials.of(nobody, request.key_pem, chain, roots(control), datetime.now(UTC))
        async with open_channel(f"127.0.0.1:{control.node_port}", held) as channel:
            for call in (mesh.status(channel), sign(channel, request.csr_pem)):
                with pytest.raises(Unauthenticated, match="eve is an operator no more"):
                    await call


async def test_an_operator_gets_certificates_of_itself_alone(tmp_path):
    async with channels(tmp_path) as (_, doors):
        web = SpiffeId("cluster.local", "shop", "web")
        with pytest.raises(PermissionDenied, match="runs no workloads"):
            await sign(doors[Role.ADMIN], csr.new_request(web).csr_pem, impersonate=web)


async def test_an_operators_token_is_for_one_key_and_one_name(tmp_path):
    async with control_plane(tmp_path, advertise=("127.0.0.1",)) as control:
        socket = tmp_path / "state" / operator.SOCKET
        async with operator.door(socket) as channel:
            made = await access.create_token(channel, "ann", Role.ADMIN)
            token = JoinToken.parse(made.join_token)
            assert (token.role, token.name) == ("admin", "ann")
            assert await access.operators(channel) == ()
            await operator.login(token, roots(control), tmp_path / "ann.json")
            with pytest.raises(Unauthenticated, match="of operator ann was used already"):
                await operator.login(token, roots(control), tmp_path / "eve.json")
            other = JoinToken.parse((await access.create_token(channel, "bob", Role.ADMIN)).join_token)
            mistaken = JoinToken(
                "eve",
                other.role,
                other.control,
                other.bootstrap,
                other.trust_domain,
                other.root,
                other.secret,
            )
            with pytest.raises(Unauthenticated, match="is of operator bob, not of operator eve"):
                await operator.login(mistaken, roots(control), tmp_path / "eve.json")
            assert not (tmp_path / "eve.json").exists()


async def test_a_profile_renews_itself_when_it_is_half_over_and_says_so_when_it_is_over(
    tmp_path, monkeypatch
):
    async with control_plane(tmp_path, advertise=("127.0.0.1",)) as control:
        profile = await logged_in(control, tmp_path, Role.ADMIN)
        assert profile.stat().st_mode & 0o777 == 0o600
        first = operator.load(profile).credentials
        async with operator.door(profile) as channel:
            await mesh.status(channel)
        assert operator.load(profile).credentials == first
        clock = Clock()
        monkeypatch.setattr(operator, "datetime", type("At", (), {"now": staticmethod(lambda _: clock())}))
        clock.ahead += timedelta(hours=13)
        async with operator.door(profile) as channel:
            await mesh.status(channel)
        second = operator.load(profile).credentials
        assert second.serial != first.serial
        clock.ahead += timedelta(days=2)
        with pytest.raises(ConfigError, match="ask an admin for a token and log in again"):
            operator.load(profile)
    profile.chmod(0o644)
    with pytest.raises(ConfigError, match="holds a key and is open to others: chmod 600"):
        operator.load(profile)
    profile.chmod(0o600)
    profile.write_text("{}")
    with pytest.raises(ConfigError, match="is no operator's profile"):
        operator.load(profile)


async def test_a_door_is_found_where_it_is(tmp_path):
    profile, state = tmp_path / "operator.json", tmp_path / "state"
    state.mkdir()
    assert operator.find(state, profile) == state / operator.SOCKET
    profile.write_text("{}")
    assert operator.find(state, profile) == profile
    (state / operator.SOCKET).touch()
    assert operator.find(state, profile) == state / operator.SOCKET


async def test_a_root_is_known_by_its_hash_alone(tmp_path):
    async with control_plane(tmp_path) as control:
        place = f"127.0.0.1:{control.bootstrap_port}"
        with pytest.raises(WrongRoot, match="is not the control plane that made the token"):
            await fetch_root(place, "ab" * 32)


async def test_a_token_may_be_asked_about_and_is_not_used_up_by_it(tmp_path):
    async with control_plane(tmp_path, clock := Clock()) as control:
        token = control.create_token("n1", 60)
        async with open_bootstrap_channel(f"127.0.0.1:{control.bootstrap_port}", roots(control)) as channel:
            await access.check_token(channel, token)
            with pytest.raises(Unauthenticated, match="the bootstrap token is unknown"):
                await access.check_token(channel, "nonsense")
            await bootstrap(control, token=token)
            with pytest.raises(Unauthenticated, match="was used already"):
                await access.check_token(channel, token)
            late = control.create_token("n1", 60)
            clock.ahead += timedelta(seconds=61)
            with pytest.raises(Unauthenticated, match="expired at"):
                await access.check_token(channel, late)


async def test_a_database_of_before_operators_is_taken_up(tmp_path):
    (tmp_path / "state").mkdir()
    database = sqlite3.connect(tmp_path / "state" / "control.db")
    database.execute(
        "CREATE TABLE token (hash BLOB PRIMARY KEY, node TEXT NOT NULL, expires INTEGER NOT NULL, used_by BLOB) STRICT"
    )
    database.execute("INSERT INTO token VALUES (x'ab', 'n1', 9999999999, NULL)")
    database.commit()
    database.close()
    async with control_plane(tmp_path) as control:
        assert [(one.name, one.role) for one in control._access.tokens()] == [("n1", Role.NODE)]
