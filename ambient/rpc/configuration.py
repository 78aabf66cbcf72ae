"""Objects of configuration, read and written through the control plane: both ends of the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import grpc.aio

from ambient.rpc.errors import answered, from_status
from ambient.rpc.moments import moment_message, read_moment
from ambient.rpc.pb.ambient.control.v1 import configuration_pb2 as pb, configuration_pb2_grpc
from ambient.rpc.server import service, stream_from, unary

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Configuration"
_TIMEOUT_SECONDS: Final = 60.0


class Outcome(Enum):
    """What has become of an object, or would have."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    NOT_FOUND = "not found"
    REFUSED = "refused"
    IGNORED = "ignored"
    """Of a kind that has no effect here; it is not kept."""


class Reason(Enum):
    """What kind of fault it is: stable words for programs."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    TYPE = "type"
    VALUE = "value"
    REFERENCE = "reference"
    CONFLICT = "conflict"
    NO_EFFECT = "no_effect"
    SYNTAX = "syntax"
    UNKNOWN_KIND = "unknown_kind"
    DUPLICATE = "duplicate"
    OTHER_SOURCE = "other_source"
    STALE = "stale"
    PARENT = "parent"
    KIND = "kind"
    UNSUPPORTED = "unsupported"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class ObjectName:
    """What an object is known by; ``namespace`` is empty for a Namespace."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """YAML or JSON, and what its reader calls it: a file's name, say."""

    origin: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a field of an object, and what would be right."""

    field: str
    reason: Reason
    message: str
    remedy: str = ""
    line: int = 0
    """Where the field stands in its manifest, from 1; 0: unknown."""

    def __str__(self) -> str:
        sentence = f"{self.field} {self.message}".lstrip()
        return f"{sentence}; {self.remedy}" if self.remedy else sentence


@dataclass(frozen=True, slots=True)
class Result:
    """What has become of one object of a request."""

    object: ObjectName | None
    """None: its document does not say."""
    outcome: Outcome
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    resource_version: int = 0
    origin: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What has become of a request; if it is not ``applied``, nothing has changed."""

    results: tuple[Result, ...]
    applied: bool
    revision: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that stands."""

    name: ObjectName
    content: bytes
    """JSON."""
    resource_version: int
    source: str
    origin: str
    changed: datetime
    violations: tuple[Violation, ...] = ()
    """Why a newer version of it does not stand."""
    warnings: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects are meant; what is empty says nothing."""

    kind: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list."""

    objects: tuple[StoredObject, ...]
    next_page_token: str
    """Empty: these were the last."""
    revision: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object to be removed, if it has this version; 0: whatever it has."""

    name: ObjectName
    resource_version: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """An object is new, or has changed."""

    object: StoredObject
    revision: int


@dataclass(frozen=True, slots=True)
class Gone:
    """An object is there no more."""

    name: ObjectName
    revision: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to here was told."""

    revision: int


Event: TypeAlias = Put | Gone | Bookmark


class Configuration(Protocol):
    """Who keeps the objects."""

    def apply(self, manifests: tuple[Manifest, ...], *, dry_run: bool) -> Answer:
        """Create or change all of it, or nothing. Raises Busy if it cannot be kept."""

    def delete(self, deletions: tuple[Deletion, ...], *, dry_run: bool) -> Answer:
        """Remove all of it, or nothing. Raises Busy if that cannot be kept."""

    def get(self, name: ObjectName) -> StoredObject:
        """Raises NotFound."""

    def page(self, wanted: Wanted, page_size: int, page_token: str) -> Page:
        """Raises InvalidRequest for a token that is none."""

    def watch(self, wanted: Wanted, revision: int) -> AsyncIterator[Event]:
        """For ever. Raises Relist when something between ``revision`` and now is forgotten."""


# The control plane's end


def configuration_service(configuration: Configuration) -> Service:
    """``ambient.control.v1.Configuration``."""

    async def validate(request: pb.ApplyRequest) -> pb.ApplyResponse:
        return _apply_response(configuration.apply(_manifests(request), dry_run=True))

    async def apply(request: pb.ApplyRequest) -> pb.ApplyResponse:
        return _apply_response(configuration.apply(_manifests(request), dry_run=request.dry_run))

    async def get(request: pb.GetRequest) -> pb.Object:
        return _object_message(configuration.get(_read_name(request.object)))

    async def list_(request: pb.ListRequest) -> pb.ListResponse:
        wanted = Wanted(request.kind, request.namespace, dict(request.labels))
        page = configuration.page(wanted, request.page_size, request.page_token)
        return pb.ListResponse(
            objects=map(_object_message, page.objects),
            next_page_token=page.next_page_token,
            revision=page.revision,
        )

    async def delete(request: pb.DeleteRequest) -> pb.DeleteResponse:
        deletions = tuple(Deletion(_read_name(one.object), one.resource_version) for one in request.objects)
        answer = configuration.delete(deletions, dry_run=request.dry_run)
        return pb.DeleteResponse(
            results=map(_result_message, answer.results), applied=answer.applied, revision=answer.revision
        )

    async def watch(request: pb.WatchRequest) -> AsyncIterator[pb.WatchEvent]:
        async for event in configuration.watch(Wanted(request.kind, request.namespace), request.revision):
            yield _event_message(event)

    return service(
        SERVICE,
        {
            "Validate": unary(validate, pb.ApplyRequest),
            "Apply": unary(apply, pb.ApplyRequest),
            "Get": unary(get, pb.GetRequest),
            "List": unary(list_, pb.ListRequest),
            "Delete": unary(delete, pb.DeleteRequest),
            "Watch": stream_from(watch, pb.WatchRequest),
        },
    )


# The caller's end: on a channel of rpc.operator


async def validate(channel: Channel, manifests: tuple[Manifest, ...]) -> Answer:
    """What ``apply`` would do."""
    response = await answered(_stub(channel).Validate(_apply_request(manifests), timeout=_TIMEOUT_SECONDS))
    return Answer(tuple(map(_read_result, response.results)), response.applied, response.revision)


async def apply(channel: Channel, manifests: tuple[Manifest, ...], *, dry_run: bool = False) -> Answer:
    """Create or change all of it, or nothing."""
    response = await answered(
        _stub(channel).Apply(_apply_request(manifests, dry_run), timeout=_TIMEOUT_SECONDS)
    )
    return Answer(tuple(map(_read_result, response.results)), response.applied, response.revision)


async def get(channel: Channel, name: ObjectName) -> StoredObject:
    """One object. Raises NotFound."""
    request = pb.GetRequest(object=_name_message(name))
    return _read_object(await answered(_stub(channel).Get(request, timeout=_TIMEOUT_SECONDS)))


async def list_page(channel: Channel, wanted: Wanted, *, page_size: int = 0, page_token: str = "") -> Page:
    """Some objects in the order of kind, namespace and name."""
    request = pb.ListRequest(
        kind=wanted.kind,
        namespace=wanted.namespace,
        labels=dict(wanted.labels),
        page_size=page_size,
        page_token=page_token,
    )
    response = await answered(_stub(channel).List(request, timeout=_TIMEOUT_SECONDS))
    return Page(tuple(map(_read_object, response.objects)), response.next_page_token, response.revision)


async def list_all(channel: Channel, wanted: Wanted) -> tuple[StoredObject, ...]:
    """Every object that is meant, page after page."""
    objects: list[StoredObject] = []
    token = ""
    while True:
        page = await list_page(channel, wanted, page_token=token)
        objects += page.objects
        token = page.next_page_token
        if not token:
            return tuple(objects)


async def delete(channel: Channel, deletions: tuple[Deletion, ...], *, dry_run: bool = False) -> Answer:
    """Remove all of it, or nothing."""
    request = pb.DeleteRequest(
        objects=[
            pb.Deletion(object=_name_message(one.name), resource_version=one.resource_version)
            for one in deletions
        ],
        dry_run=dry_run,
    )
    response = await answered(_stub(channel).Delete(request, timeout=_TIMEOUT_SECONDS))
    return Answer(tuple(map(_read_result, response.results)), response.applied, response.revision)


async def watch(channel: Channel, wanted: Wanted, revision: int = 0) -> AsyncIterator[Event]:
    """What changes after ``revision``; from 0, first all that there is and a bookmark.

    Raises Relist when the control plane does not remember that far: list again.
    """
    request = pb.WatchRequest(kind=wanted.kind, namespace=wanted.namespace, revision=revision)
    call = _stub(channel).Watch(request)
    try:
        async for event in call:
            yield _read_event(event)
    except grpc.aio.AioRpcError as error:
        raise from_status(error) from error
    finally:
        call.cancel()


def _stub(channel: Channel) -> configuration_pb2_grpc.ConfigurationStub:
    return configuration_pb2_grpc.ConfigurationStub(channel)  # type: ignore[no-untyped-call]


# Messages


_OUTCOMES: Final = {
    Outcome.CREATED: pb.OUTCOME_CREATED,
    Outcome.CONFIGURED: pb.OUTCOME_CONFIGURED,
    Outcome.UNCHANGED: pb.OUTCOME_UNCHANGED,
    Outcome.DELETED: pb.OUTCOME_DELETED,
    Outcome.NOT_FOUND: pb.OUTCOME_NOT_FOUND,
    Outcome.REFUSED: pb.OUTCOME_REFUSED,
    Outcome.IGNORED: pb.OUTCOME_IGNORED,
}
_OUTCOMES_BACK: Final = {number: outcome for outcome, number in _OUTCOMES.items()}
_REASONS: Final = {
    Reason.MISSING: pb.REASON_MISSING,
    Reason.UNKNOWN: pb.REASON_UNKNOWN_FIELD,
    Reason.TYPE: pb.REASON_TYPE,
    Reason.VALUE: pb.REASON_VALUE,
    Reason.REFERENCE: pb.REASON_REFERENCE,
    Reason.CONFLICT: pb.REASON_CONFLICT,
    Reason.NO_EFFECT: pb.REASON_NO_EFFECT,
    Reason.SYNTAX: pb.REASON_SYNTAX,
    Reason.UNKNOWN_KIND: pb.REASON_UNKNOWN_KIND,
    Reason.DUPLICATE: pb.REASON_DUPLICATE,
    Reason.OTHER_SOURCE: pb.REASON_OTHER_SOURCE,
    Reason.STALE: pb.REASON_STALE,
    Reason.PARENT: pb.REASON_PARENT,
    Reason.KIND: pb.REASON_KIND,
    Reason.UNSUPPORTED: pb.REASON_UNSUPPORTED,
    Reason.INCOMPATIBLE: pb.REASON_INCOMPATIBLE,
}
_REASONS_BACK: Final = {number: reason for reason, number in _REASONS.items()}


def _apply_request(manifests: tuple[Manifest, ...], dry_run: bool = False) -> pb.ApplyRequest:  # noqa: FBT001, FBT002
    return pb.ApplyRequest(
        manifests=[pb.Manifest(origin=one.origin, content=one.content) for one in manifests], dry_run=dry_run
    )


def _manifests(request: pb.ApplyRequest) -> tuple[Manifest, ...]:
    return tuple(Manifest(one.origin, one.content) for one in request.manifests)


def _apply_response(answer: Answer) -> pb.ApplyResponse:
    return pb.ApplyResponse(
        results=map(_result_message, answer.results), applied=answer.applied, revision=answer.revision
    )


def _name_message(name: ObjectName) -> pb.ObjectName:
    return pb.ObjectName(kind=name.kind, namespace=name.namespace, name=name.name)


def _read_name(message: pb.ObjectName) -> ObjectName:
    return ObjectName(message.kind, message.namespace, message.name)


def _violation_message(violation: Violation) -> pb.Violation:
    return pb.Violation(
        field=violation.field,
        reason=_REASONS[violation.reason],
        message=violation.message,
        remedy=violation.remedy,
        line=violation.line,
    )


def _read_violation(message: pb.Violation) -> Violation:
    # A reason that a newer control plane has is none that this program can act upon: a value, of its field.
    reason = _REASONS_BACK.get(message.reason, Reason.VALUE)
    return Violation(message.field, reason, message.message, message.remedy, message.line)


def _result_message(result: Result) -> pb.ObjectResult:
    return pb.ObjectResult(
        object=None if result.object is None else _name_message(result.object),
        outcome=_OUTCOMES[result.outcome],
        violations=map(_violation_message, result.violations),
        warnings=map(_violation_message, result.warnings),
        resource_version=result.resource_version,
        origin=result.origin,
        line=result.line,
    )


def _read_result(message: pb.ObjectResult) -> Result:
    return Result(
        _read_name(message.object) if message.HasField("object") else None,
        _OUTCOMES_BACK[message.outcome],
        tuple(map(_read_violation, message.violations)),
        tuple(map(_read_violation, message.warnings)),
        message.resource_version,
        message.origin,
        message.line,
    )


def _object_message(stored: StoredObject) -> pb.Object:
    return pb.Object(
        object=_name_message(stored.name),
        content=stored.content,
        resource_version=stored.resource_version,
        source=stored.source,
        origin=stored.origin,
        changed=moment_message(stored.changed),
        violations=map(_violation_message, stored.violations),
        warnings=map(_violation_message, stored.warnings),
    )


def _read_object(message: pb.Object) -> StoredObject:
    return StoredObject(
        _read_name(message.object),
        message.content,
        message.resource_version,
        message.source,
        message.origin,
        read_moment(message.changed),
        tuple(map(_read_violation, message.violations)),
        tuple(map(_read_violation, message.warnings)),
    )


def _event_message(event: Event) -> pb.WatchEvent:
    match event:
        case Put(stored, revision):
            return pb.WatchEvent(put=_object_message(stored), revision=revision)
        case Gone(name, revision):
            return pb.WatchEvent(gone=_name_message(name), revision=revision)
        case Bookmark(revision):
            return pb.WatchEvent(bookmark=pb.Bookmark(), revision=revision)


def _read_event(message: pb.WatchEvent) -> Event:
    match message.WhichOneof("event"):
        case "put":
            return Put(_read_object(message.put), message.revision)
        case "gone":
            return Gone(_read_name(message.gone), message.revision)
        case _:
            return Bookmark(message.revision)
