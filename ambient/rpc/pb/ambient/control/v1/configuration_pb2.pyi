import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_CREATED: _ClassVar[Outcome]
    OUTCOME_CONFIGURED: _ClassVar[Outcome]
    OUTCOME_UNCHANGED: _ClassVar[Outcome]
    OUTCOME_DELETED: _ClassVar[Outcome]
    OUTCOME_NOT_FOUND: _ClassVar[Outcome]
    OUTCOME_REFUSED: _ClassVar[Outcome]
    OUTCOME_IGNORED: _ClassVar[Outcome]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_MISSING: _ClassVar[Reason]
    REASON_UNKNOWN_FIELD: _ClassVar[Reason]
    REASON_TYPE: _ClassVar[Reason]
    REASON_VALUE: _ClassVar[Reason]
    REASON_REFERENCE: _ClassVar[Reason]
    REASON_CONFLICT: _ClassVar[Reason]
    REASON_NO_EFFECT: _ClassVar[Reason]
    REASON_SYNTAX: _ClassVar[Reason]
    REASON_UNKNOWN_KIND: _ClassVar[Reason]
    REASON_DUPLICATE: _ClassVar[Reason]
    REASON_OTHER_SOURCE: _ClassVar[Reason]
    REASON_STALE: _ClassVar[Reason]
    REASON_PARENT: _ClassVar[Reason]
    REASON_KIND: _ClassVar[Reason]
    REASON_UNSUPPORTED: _ClassVar[Reason]
    REASON_INCOMPATIBLE: _ClassVar[Reason]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_CREATED: Outcome
OUTCOME_CONFIGURED: Outcome
OUTCOME_UNCHANGED: Outcome
OUTCOME_DELETED: Outcome
OUTCOME_NOT_FOUND: Outcome
OUTCOME_REFUSED: Outcome
OUTCOME_IGNORED: Outcome
REASON_UNSPECIFIED: Reason
REASON_MISSING: Reason
REASON_UNKNOWN_FIELD: Reason
REASON_TYPE: Reason
REASON_VALUE: Reason
REASON_REFERENCE: Reason
REASON_CONFLICT: Reason
REASON_NO_EFFECT: Reason
REASON_SYNTAX: Reason
REASON_UNKNOWN_KIND: Reason
REASON_DUPLICATE: Reason
REASON_OTHER_SOURCE: Reason
REASON_STALE: Reason
REASON_PARENT: Reason
REASON_KIND: Reason
REASON_UNSUPPORTED: Reason
REASON_INCOMPATIBLE: Reason

class ObjectName(_message.Message):
    __slots__ = ("kind", "namespace", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("manifests", "dry_run")
    MANIFESTS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    manifests: _containers.RepeatedCompositeFieldContainer[Manifest]
    dry_run: bool
    def __init__(self, manifests: _Optional[_Iterable[_Union[Manifest, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("origin", "content")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    origin: str
    content: bytes
    def __init__(self, origin: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("results", "applied", "revision")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ObjectResult]
    applied: bool
    revision: int
    def __init__(self, results: _Optional[_Iterable[_Union[ObjectResult, _Mapping]]] = ..., applied: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class ObjectResult(_message.Message):
    __slots__ = ("object", "outcome", "violations", "warnings", "resource_version", "origin", "line")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    object: ObjectName
    outcome: Outcome
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    warnings: _containers.RepeatedCompositeFieldContainer[Violation]
    resource_version: int
    origin: str
    line: int
    def __init__(self, object: _Optional[_Union[ObjectName, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., resource_version: _Optional[int] = ..., origin: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class Violation(_message.Message):
    __slots__ = ("field", "reason", "message", "remedy", "line")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    field: str
    reason: Reason
    message: str
    remedy: str
    line: int
    def __init__(self, field: _Optional[str] = ..., reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("object",)
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    object: ObjectName
    def __init__(self, object: _Optional[_Union[ObjectName, _Mapping]] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("object", "content", "resource_version", "source", "origin", "changed", "violations", "warnings")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    object: ObjectName
    content: bytes
    resource_version: int
    source: str
    origin: str
    changed: _timestamp_pb2.Timestamp
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    warnings: _containers.RepeatedCompositeFieldContainer[Violation]
    def __init__(self, object: _Optional[_Union[ObjectName, _Mapping]] = ..., content: _Optional[bytes] = ..., resource_version: _Optional[int] = ..., source: _Optional[str] = ..., origin: _Optional[str] = ..., changed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("kind", "namespace", "labels", "page_size", "page_token")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    labels: _containers.ScalarMap[str, str]
    page_size: int
    page_token: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("objects", "next_page_token", "revision")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Object]
    next_page_token: str
    revision: int
    def __init__(self, objects: _Optional[_Iterable[_Union[Object, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("objects", "dry_run")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[Deletion]
    dry_run: bool
    def __init__(self, objects: _Optional[_Iterable[_Union[Deletion, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Deletion(_message.Message):
    __slots__ = ("object", "resource_version")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    object: ObjectName
    resource_version: int
    def __init__(self, object: _Optional[_Union[ObjectName, _Mapping]] = ..., resource_version: _Optional[int] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("results", "applied", "revision")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ObjectResult]
    applied: bool
    revision: int
    def __init__(self, results: _Optional[_Iterable[_Union[ObjectResult, _Mapping]]] = ..., applied: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("kind", "namespace", "revision")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    revision: int
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("put", "gone", "bookmark", "revision")
    PUT_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    BOOKMARK_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    put: Object
    gone: ObjectName
    bookmark: Bookmark
    revision: int
    def __init__(self, put: _Optional[_Union[Object, _Mapping]] = ..., gone: _Optional[_Union[ObjectName, _Mapping]] = ..., bookmark: _Optional[_Union[Bookmark, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class Bookmark(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
