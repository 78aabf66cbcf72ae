import datetime

from ambient.rpc.pb.ambient.route.v1 import traffic_pb2 as _traffic_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    PROTOCOL_HTTP: _ClassVar[Protocol]
    PROTOCOL_GRPC: _ClassVar[Protocol]
    PROTOCOL_TLS: _ClassVar[Protocol]
    PROTOCOL_TCP: _ClassVar[Protocol]

class Unmatched(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNMATCHED_UNSPECIFIED: _ClassVar[Unmatched]
    UNMATCHED_NOT_FOUND: _ClassVar[Unmatched]
    UNMATCHED_SERVICE: _ClassVar[Unmatched]

class PathMatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATH_MATCH_KIND_UNSPECIFIED: _ClassVar[PathMatchKind]
    PATH_MATCH_KIND_EXACT: _ClassVar[PathMatchKind]
    PATH_MATCH_KIND_PREFIX: _ClassVar[PathMatchKind]
    PATH_MATCH_KIND_SEGMENTS: _ClassVar[PathMatchKind]
    PATH_MATCH_KIND_REGEX: _ClassVar[PathMatchKind]

class TextMatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT_MATCH_KIND_UNSPECIFIED: _ClassVar[TextMatchKind]
    TEXT_MATCH_KIND_EXACT: _ClassVar[TextMatchKind]
    TEXT_MATCH_KIND_PREFIX: _ClassVar[TextMatchKind]
    TEXT_MATCH_KIND_SUFFIX: _ClassVar[TextMatchKind]
    TEXT_MATCH_KIND_REGEX: _ClassVar[TextMatchKind]
    TEXT_MATCH_KIND_PRESENT: _ClassVar[TextMatchKind]

class PathRewriteKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PATH_REWRITE_KIND_UNSPECIFIED: _ClassVar[PathRewriteKind]
    PATH_REWRITE_KIND_FULL: _ClassVar[PathRewriteKind]
    PATH_REWRITE_KIND_PREFIX: _ClassVar[PathRewriteKind]
    PATH_REWRITE_KIND_REGEX: _ClassVar[PathRewriteKind]

class RetryOn(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_ON_UNSPECIFIED: _ClassVar[RetryOn]
    RETRY_ON_CONNECT_FAILURE: _ClassVar[RetryOn]
    RETRY_ON_REFUSED_STREAM: _ClassVar[RetryOn]
    RETRY_ON_RESET: _ClassVar[RetryOn]
    RETRY_ON_RESET_BEFORE_REQUEST: _ClassVar[RetryOn]
    RETRY_ON_GATEWAY_ERROR: _ClassVar[RetryOn]
    RETRY_ON_SERVER_ERROR: _ClassVar[RetryOn]
    RETRY_ON_RETRIABLE_4XX: _ClassVar[RetryOn]
    RETRY_ON_RATE_LIMITED: _ClassVar[RetryOn]
    RETRY_ON_CANCELLED: _ClassVar[RetryOn]
    RETRY_ON_DEADLINE_EXCEEDED: _ClassVar[RetryOn]
    RETRY_ON_INTERNAL: _ClassVar[RetryOn]
    RETRY_ON_RESOURCE_EXHAUSTED: _ClassVar[RetryOn]
    RETRY_ON_UNAVAILABLE: _ClassVar[RetryOn]
PROTOCOL_UNSPECIFIED: Protocol
PROTOCOL_HTTP: Protocol
PROTOCOL_GRPC: Protocol
PROTOCOL_TLS: Protocol
PROTOCOL_TCP: Protocol
UNMATCHED_UNSPECIFIED: Unmatched
UNMATCHED_NOT_FOUND: Unmatched
UNMATCHED_SERVICE: Unmatched
PATH_MATCH_KIND_UNSPECIFIED: PathMatchKind
PATH_MATCH_KIND_EXACT: PathMatchKind
PATH_MATCH_KIND_PREFIX: PathMatchKind
PATH_MATCH_KIND_SEGMENTS: PathMatchKind
PATH_MATCH_KIND_REGEX: PathMatchKind
TEXT_MATCH_KIND_UNSPECIFIED: TextMatchKind
TEXT_MATCH_KIND_EXACT: TextMatchKind
TEXT_MATCH_KIND_PREFIX: TextMatchKind
TEXT_MATCH_KIND_SUFFIX: TextMatchKind
TEXT_MATCH_KIND_REGEX: TextMatchKind
TEXT_MATCH_KIND_PRESENT: TextMatchKind
PATH_REWRITE_KIND_UNSPECIFIED: PathRewriteKind
PATH_REWRITE_KIND_FULL: PathRewriteKind
PATH_REWRITE_KIND_PREFIX: PathRewriteKind
PATH_REWRITE_KIND_REGEX: PathRewriteKind
RETRY_ON_UNSPECIFIED: RetryOn
RETRY_ON_CONNECT_FAILURE: RetryOn
RETRY_ON_REFUSED_STREAM: RetryOn
RETRY_ON_RESET: RetryOn
RETRY_ON_RESET_BEFORE_REQUEST: RetryOn
RETRY_ON_GATEWAY_ERROR: RetryOn
RETRY_ON_SERVER_ERROR: RetryOn
RETRY_ON_RETRIABLE_4XX: RetryOn
RETRY_ON_RATE_LIMITED: RetryOn
RETRY_ON_CANCELLED: RetryOn
RETRY_ON_DEADLINE_EXCEEDED: RetryOn
RETRY_ON_INTERNAL: RetryOn
RETRY_ON_RESOURCE_EXHAUSTED: RetryOn
RETRY_ON_UNAVAILABLE: RetryOn

class ServiceRoutes(_message.Message):
    __slots__ = ("service", "tables", "profile", "profile_consumers", "traffic", "traffic_consumers")
    class ProfileConsumersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Profile
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...
    class TrafficConsumersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _traffic_pb2.TrafficPolicies
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_traffic_pb2.TrafficPolicies, _Mapping]] = ...) -> None: ...
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    service: str
    tables: _containers.RepeatedCompositeFieldContainer[RouteTable]
    profile: Profile
    profile_consumers: _containers.MessageMap[str, Profile]
    traffic: _traffic_pb2.TrafficPolicies
    traffic_consumers: _containers.MessageMap[str, _traffic_pb2.TrafficPolicies]
    def __init__(self, service: _Optional[str] = ..., tables: _Optional[_Iterable[_Union[RouteTable, _Mapping]]] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., profile_consumers: _Optional[_Mapping[str, Profile]] = ..., traffic: _Optional[_Union[_traffic_pb2.TrafficPolicies, _Mapping]] = ..., traffic_consumers: _Optional[_Mapping[str, _traffic_pb2.TrafficPolicies]] = ...) -> None: ...

class RouteTable(_message.Message):
    __slots__ = ("protocol", "rules", "unmatched", "ports", "consumer")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    UNMATCHED_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    protocol: Protocol
    rules: _containers.RepeatedCompositeFieldContainer[RouteRule]
    unmatched: Unmatched
    ports: _containers.RepeatedScalarFieldContainer[int]
    consumer: str
    def __init__(self, protocol: _Optional[_Union[Protocol, str]] = ..., rules: _Optional[_Iterable[_Union[RouteRule, _Mapping]]] = ..., unmatched: _Optional[_Union[Unmatched, str]] = ..., ports: _Optional[_Iterable[int]] = ..., consumer: _Optional[str] = ...) -> None: ...

class RouteRule(_message.Message):
    __slots__ = ("origin", "action", "matches", "name", "filters", "timeouts", "retry", "persistence")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    PERSISTENCE_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    action: Action
    matches: _containers.RepeatedCompositeFieldContainer[RouteMatch]
    name: str
    filters: Filters
    timeouts: Timeouts
    retry: Retry
    persistence: _traffic_pb2.Persistence
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., matches: _Optional[_Iterable[_Union[RouteMatch, _Mapping]]] = ..., name: _Optional[str] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., persistence: _Optional[_Union[_traffic_pb2.Persistence, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("kind", "namespace", "name", "field")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    field: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...

class RouteMatch(_message.Message):
    __slots__ = ("path", "method", "scheme", "authority", "headers", "queries", "ports", "source_namespace", "source_labels", "server_names", "destinations")
    class SourceLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_LABELS_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAMES_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    path: PathMatch
    method: TextMatch
    scheme: TextMatch
    authority: TextMatch
    headers: _containers.RepeatedCompositeFieldContainer[HeaderMatch]
    queries: _containers.RepeatedCompositeFieldContainer[QueryMatch]
    ports: _containers.RepeatedScalarFieldContainer[int]
    source_namespace: str
    source_labels: _containers.ScalarMap[str, str]
    server_names: _containers.RepeatedScalarFieldContainer[str]
    destinations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[_Union[PathMatch, _Mapping]] = ..., method: _Optional[_Union[TextMatch, _Mapping]] = ..., scheme: _Optional[_Union[TextMatch, _Mapping]] = ..., authority: _Optional[_Union[TextMatch, _Mapping]] = ..., headers: _Optional[_Iterable[_Union[HeaderMatch, _Mapping]]] = ..., queries: _Optional[_Iterable[_Union[QueryMatch, _Mapping]]] = ..., ports: _Optional[_Iterable[int]] = ..., source_namespace: _Optional[str] = ..., source_labels: _Optional[_Mapping[str, str]] = ..., server_names: _Optional[_Iterable[str]] = ..., destinations: _Optional[_Iterable[str]] = ...) -> None: ...

class PathMatch(_message.Message):
    __slots__ = ("kind", "value", "ignore_case")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CASE_FIELD_NUMBER: _ClassVar[int]
    kind: PathMatchKind
    value: str
    ignore_case: bool
    def __init__(self, kind: _Optional[_Union[PathMatchKind, str]] = ..., value: _Optional[str] = ..., ignore_case: _Optional[bool] = ...) -> None: ...

class TextMatch(_message.Message):
    __slots__ = ("kind", "value", "ignore_case")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CASE_FIELD_NUMBER: _ClassVar[int]
    kind: TextMatchKind
    value: str
    ignore_case: bool
    def __init__(self, kind: _Optional[_Union[TextMatchKind, str]] = ..., value: _Optional[str] = ..., ignore_case: _Optional[bool] = ...) -> None: ...

class HeaderMatch(_message.Message):
    __slots__ = ("name", "match", "inverted")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    match: TextMatch
    inverted: bool
    def __init__(self, name: _Optional[str] = ..., match: _Optional[_Union[TextMatch, _Mapping]] = ..., inverted: _Optional[bool] = ...) -> None: ...

class QueryMatch(_message.Message):
    __slots__ = ("name", "match")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    name: str
    match: TextMatch
    def __init__(self, name: _Optional[str] = ..., match: _Optional[_Union[TextMatch, _Mapping]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("forward", "redirect", "respond")
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    forward: Forward
    redirect: Redirect
    respond: Respond
    def __init__(self, forward: _Optional[_Union[Forward, _Mapping]] = ..., redirect: _Optional[_Union[Redirect, _Mapping]] = ..., respond: _Optional[_Union[Respond, _Mapping]] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("backends",)
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("service", "port", "subset", "weight", "filters", "trouble")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    service: str
    port: int
    subset: str
    weight: int
    filters: Filters
    trouble: str
    def __init__(self, service: _Optional[str] = ..., port: _Optional[int] = ..., subset: _Optional[str] = ..., weight: _Optional[int] = ..., filters: _Optional[_Union[Filters, _Mapping]] = ..., trouble: _Optional[str] = ...) -> None: ...

class Redirect(_message.Message):
    __slots__ = ("status", "scheme", "authority", "port", "path")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    status: int
    scheme: str
    authority: str
    port: int
    path: PathRewrite
    def __init__(self, status: _Optional[int] = ..., scheme: _Optional[str] = ..., authority: _Optional[str] = ..., port: _Optional[int] = ..., path: _Optional[_Union[PathRewrite, _Mapping]] = ...) -> None: ...

class Respond(_message.Message):
    __slots__ = ("status", "body")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    status: int
    body: str
    def __init__(self, status: _Optional[int] = ..., body: _Optional[str] = ...) -> None: ...

class Filters(_message.Message):
    __slots__ = ("request_headers", "response_headers", "rewrite", "mirrors", "cors", "fault")
    REQUEST_HEADERS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    MIRRORS_FIELD_NUMBER: _ClassVar[int]
    CORS_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    request_headers: HeaderEdits
    response_headers: HeaderEdits
    rewrite: Rewrite
    mirrors: _containers.RepeatedCompositeFieldContainer[Mirror]
    cors: Cors
    fault: Fault
    def __init__(self, request_headers: _Optional[_Union[HeaderEdits, _Mapping]] = ..., response_headers: _Optional[_Union[HeaderEdits, _Mapping]] = ..., rewrite: _Optional[_Union[Rewrite, _Mapping]] = ..., mirrors: _Optional[_Iterable[_Union[Mirror, _Mapping]]] = ..., cors: _Optional[_Union[Cors, _Mapping]] = ..., fault: _Optional[_Union[Fault, _Mapping]] = ...) -> None: ...

class HeaderEdits(_message.Message):
    __slots__ = ("set", "add", "remove")
    SET_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    set: _containers.RepeatedCompositeFieldContainer[_traffic_pb2.Pair]
    add: _containers.RepeatedCompositeFieldContainer[_traffic_pb2.Pair]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, set: _Optional[_Iterable[_Union[_traffic_pb2.Pair, _Mapping]]] = ..., add: _Optional[_Iterable[_Union[_traffic_pb2.Pair, _Mapping]]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class Rewrite(_message.Message):
    __slots__ = ("path", "authority")
    PATH_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    path: PathRewrite
    authority: str
    def __init__(self, path: _Optional[_Union[PathRewrite, _Mapping]] = ..., authority: _Optional[str] = ...) -> None: ...

class PathRewrite(_message.Message):
    __slots__ = ("kind", "value", "pattern")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    kind: PathRewriteKind
    value: str
    pattern: str
    def __init__(self, kind: _Optional[_Union[PathRewriteKind, str]] = ..., value: _Optional[str] = ..., pattern: _Optional[str] = ...) -> None: ...

class Mirror(_message.Message):
    __slots__ = ("backend", "share")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    backend: Backend
    share: float
    def __init__(self, backend: _Optional[_Union[Backend, _Mapping]] = ..., share: _Optional[float] = ...) -> None: ...

class Cors(_message.Message):
    __slots__ = ("allow_origins", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials")
    ALLOW_ORIGINS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_METHODS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_HEADERS_FIELD_NUMBER: _ClassVar[int]
    EXPOSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    allow_origins: _containers.RepeatedCompositeFieldContainer[TextMatch]
    allow_methods: _containers.RepeatedScalarFieldContainer[str]
    allow_headers: _containers.RepeatedScalarFieldContainer[str]
    expose_headers: _containers.RepeatedScalarFieldContainer[str]
    max_age: _duration_pb2.Duration
    allow_credentials: bool
    def __init__(self, allow_origins: _Optional[_Iterable[_Union[TextMatch, _Mapping]]] = ..., allow_methods: _Optional[_Iterable[str]] = ..., allow_headers: _Optional[_Iterable[str]] = ..., expose_headers: _Optional[_Iterable[str]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allow_credentials: _Optional[bool] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("delay", "delayed_share", "abort_status", "abort_grpc_status", "aborted_share")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    DELAYED_SHARE_FIELD_NUMBER: _ClassVar[int]
    ABORT_STATUS_FIELD_NUMBER: _ClassVar[int]
    ABORT_GRPC_STATUS_FIELD_NUMBER: _ClassVar[int]
    ABORTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    delay: _duration_pb2.Duration
    delayed_share: float
    abort_status: int
    abort_grpc_status: str
    aborted_share: float
    def __init__(self, delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., delayed_share: _Optional[float] = ..., abort_status: _Optional[int] = ..., abort_grpc_status: _Optional[str] = ..., aborted_share: _Optional[float] = ...) -> None: ...

class Timeouts(_message.Message):
    __slots__ = ("request", "attempt", "response", "idle", "last_attempt_unlimited")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    LAST_ATTEMPT_UNLIMITED_FIELD_NUMBER: _ClassVar[int]
    request: _duration_pb2.Duration
    attempt: _duration_pb2.Duration
    response: _duration_pb2.Duration
    idle: _duration_pb2.Duration
    last_attempt_unlimited: bool
    def __init__(self, request: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempt: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., response: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., last_attempt_unlimited: _Optional[bool] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("attempts", "on", "codes", "backoff", "any_method", "after_timeout")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    ANY_METHOD_FIELD_NUMBER: _ClassVar[int]
    AFTER_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    on: _containers.RepeatedScalarFieldContainer[RetryOn]
    codes: _containers.RepeatedCompositeFieldContainer[Range]
    backoff: _duration_pb2.Duration
    any_method: bool
    after_timeout: bool
    def __init__(self, attempts: _Optional[int] = ..., on: _Optional[_Iterable[_Union[RetryOn, str]]] = ..., codes: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., backoff: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., any_method: _Optional[bool] = ..., after_timeout: _Optional[bool] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: int
    second: int
    def __init__(self, first: _Optional[int] = ..., second: _Optional[int] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("routes", "budget")
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    routes: _containers.RepeatedCompositeFieldContainer[ProfileRoute]
    budget: _traffic_pb2.RetryBudget
    def __init__(self, routes: _Optional[_Iterable[_Union[ProfileRoute, _Mapping]]] = ..., budget: _Optional[_Union[_traffic_pb2.RetryBudget, _Mapping]] = ...) -> None: ...

class ProfileRoute(_message.Message):
    __slots__ = ("origin", "name", "condition", "timeouts", "retry", "responses")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    origin: Origin
    name: str
    condition: Condition
    timeouts: Timeouts
    retry: Retry
    responses: _containers.RepeatedCompositeFieldContainer[ResponseClass]
    def __init__(self, origin: _Optional[_Union[Origin, _Mapping]] = ..., name: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., responses: _Optional[_Iterable[_Union[ResponseClass, _Mapping]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("route_match", "all_of", "any_of")
    ROUTE_MATCH_FIELD_NUMBER: _ClassVar[int]
    ALL_OF_FIELD_NUMBER: _ClassVar[int]
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    route_match: RouteMatch
    all_of: AllOf
    any_of: AnyOf
    def __init__(self, route_match: _Optional[_Union[RouteMatch, _Mapping]] = ..., all_of: _Optional[_Union[AllOf, _Mapping]] = ..., any_of: _Optional[_Union[AnyOf, _Mapping]] = ..., **kwargs) -> None: ...

class AllOf(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class AnyOf(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class Not(_message.Message):
    __slots__ = ("condition",)
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    condition: Condition
    def __init__(self, condition: _Optional[_Union[Condition, _Mapping]] = ...) -> None: ...

class ResponseClass(_message.Message):
    __slots__ = ("first", "last", "is_failure", "inverted")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    IS_FAILURE_FIELD_NUMBER: _ClassVar[int]
    INVERTED_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    is_failure: bool
    inverted: bool
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., is_failure: _Optional[bool] = ..., inverted: _Optional[bool] = ...) -> None: ...
