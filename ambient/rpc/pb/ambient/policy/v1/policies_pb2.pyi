import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APP_PROTOCOL_UNSPECIFIED: _ClassVar[AppProtocol]
    APP_PROTOCOL_HTTP: _ClassVar[AppProtocol]
    APP_PROTOCOL_HTTP2: _ClassVar[AppProtocol]
    APP_PROTOCOL_GRPC: _ClassVar[AppProtocol]
    APP_PROTOCOL_TLS: _ClassVar[AppProtocol]
    APP_PROTOCOL_TCP: _ClassVar[AppProtocol]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_ALLOW: _ClassVar[Action]
    ACTION_DENY: _ClassVar[Action]

class StringMatchKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRING_MATCH_KIND_UNSPECIFIED: _ClassVar[StringMatchKind]
    STRING_MATCH_KIND_EXACT: _ClassVar[StringMatchKind]
    STRING_MATCH_KIND_PREFIX: _ClassVar[StringMatchKind]
    STRING_MATCH_KIND_SUFFIX: _ClassVar[StringMatchKind]
    STRING_MATCH_KIND_PRESENCE: _ClassVar[StringMatchKind]

class LimitScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIMIT_SCOPE_UNSPECIFIED: _ClassVar[LimitScope]
    LIMIT_SCOPE_LOCAL: _ClassVar[LimitScope]
    LIMIT_SCOPE_MESH: _ClassVar[LimitScope]

class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIDE_UNSPECIFIED: _ClassVar[Side]
    SIDE_CLIENT: _ClassVar[Side]
    SIDE_SERVER: _ClassVar[Side]

class Permission(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERMISSION_UNSPECIFIED: _ClassVar[Permission]
    PERMISSION_ALLOW: _ClassVar[Permission]
    PERMISSION_REFUSE: _ClassVar[Permission]

class SameNode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAME_NODE_UNSPECIFIED: _ClassVar[SameNode]
    SAME_NODE_DIRECT: _ClassVar[SameNode]
    SAME_NODE_MTLS: _ClassVar[SameNode]
APP_PROTOCOL_UNSPECIFIED: AppProtocol
APP_PROTOCOL_HTTP: AppProtocol
APP_PROTOCOL_HTTP2: AppProtocol
APP_PROTOCOL_GRPC: AppProtocol
APP_PROTOCOL_TLS: AppProtocol
APP_PROTOCOL_TCP: AppProtocol
ACTION_UNSPECIFIED: Action
ACTION_ALLOW: Action
ACTION_DENY: Action
STRING_MATCH_KIND_UNSPECIFIED: StringMatchKind
STRING_MATCH_KIND_EXACT: StringMatchKind
STRING_MATCH_KIND_PREFIX: StringMatchKind
STRING_MATCH_KIND_SUFFIX: StringMatchKind
STRING_MATCH_KIND_PRESENCE: StringMatchKind
LIMIT_SCOPE_UNSPECIFIED: LimitScope
LIMIT_SCOPE_LOCAL: LimitScope
LIMIT_SCOPE_MESH: LimitScope
SIDE_UNSPECIFIED: Side
SIDE_CLIENT: Side
SIDE_SERVER: Side
PERMISSION_UNSPECIFIED: Permission
PERMISSION_ALLOW: Permission
PERMISSION_REFUSE: Permission
SAME_NODE_UNSPECIFIED: SameNode
SAME_NODE_DIRECT: SameNode
SAME_NODE_MTLS: SameNode

class ServicePolicies(_message.Message):
    __slots__ = ("service", "ports", "authorizations", "tokens", "limits", "telemetry")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATIONS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    service: str
    ports: _containers.RepeatedCompositeFieldContainer[DeclaredPort]
    authorizations: _containers.RepeatedCompositeFieldContainer[RequestAuthorization]
    tokens: _containers.RepeatedCompositeFieldContainer[JwtRule]
    limits: _containers.RepeatedCompositeFieldContainer[RateLimit]
    telemetry: Telemetry
    def __init__(self, service: _Optional[str] = ..., ports: _Optional[_Iterable[_Union[DeclaredPort, _Mapping]]] = ..., authorizations: _Optional[_Iterable[_Union[RequestAuthorization, _Mapping]]] = ..., tokens: _Optional[_Iterable[_Union[JwtRule, _Mapping]]] = ..., limits: _Optional[_Iterable[_Union[RateLimit, _Mapping]]] = ..., telemetry: _Optional[_Union[Telemetry, _Mapping]] = ...) -> None: ...

class DeclaredPort(_message.Message):
    __slots__ = ("service_port", "name", "protocol")
    SERVICE_PORT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    service_port: int
    name: str
    protocol: AppProtocol
    def __init__(self, service_port: _Optional[int] = ..., name: _Optional[str] = ..., protocol: _Optional[_Union[AppProtocol, str]] = ...) -> None: ...

class RequestAuthorization(_message.Message):
    __slots__ = ("name", "namespace", "targets", "action", "rules", "dry_run")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    name: str
    namespace: str
    targets: _containers.RepeatedCompositeFieldContainer[Target]
    action: Action
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    dry_run: bool
    def __init__(self, name: _Optional[str] = ..., namespace: _Optional[str] = ..., targets: _Optional[_Iterable[_Union[Target, _Mapping]]] = ..., action: _Optional[_Union[Action, str]] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("clauses",)
    CLAUSES_FIELD_NUMBER: _ClassVar[int]
    clauses: _containers.RepeatedCompositeFieldContainer[Clause]
    def __init__(self, clauses: _Optional[_Iterable[_Union[Clause, _Mapping]]] = ...) -> None: ...

class Clause(_message.Message):
    __slots__ = ("matches",)
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[RequestMatch]
    def __init__(self, matches: _Optional[_Iterable[_Union[RequestMatch, _Mapping]]] = ...) -> None: ...

class RequestMatch(_message.Message):
    __slots__ = ("connection", "remote_ips", "not_remote_ips", "request_principals", "not_request_principals", "audiences", "not_audiences", "presenters", "not_presenters", "server_names", "not_server_names", "hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths", "headers", "claims")
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    REMOTE_IPS_FIELD_NUMBER: _ClassVar[int]
    NOT_REMOTE_IPS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    NOT_REQUEST_PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    NOT_AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    PRESENTERS_FIELD_NUMBER: _ClassVar[int]
    NOT_PRESENTERS_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAMES_FIELD_NUMBER: _ClassVar[int]
    NOT_SERVER_NAMES_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    NOT_HOSTS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    NOT_METHODS_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    NOT_PATHS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    connection: Match
    remote_ips: _containers.RepeatedScalarFieldContainer[str]
    not_remote_ips: _containers.RepeatedScalarFieldContainer[str]
    request_principals: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_request_principals: _containers.RepeatedCompositeFieldContainer[StringMatch]
    audiences: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_audiences: _containers.RepeatedCompositeFieldContainer[StringMatch]
    presenters: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_presenters: _containers.RepeatedCompositeFieldContainer[StringMatch]
    server_names: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_server_names: _containers.RepeatedCompositeFieldContainer[StringMatch]
    hosts: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_hosts: _containers.RepeatedCompositeFieldContainer[StringMatch]
    methods: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_methods: _containers.RepeatedCompositeFieldContainer[StringMatch]
    paths: _containers.RepeatedCompositeFieldContainer[PathPattern]
    not_paths: _containers.RepeatedCompositeFieldContainer[PathPattern]
    headers: _containers.RepeatedCompositeFieldContainer[HeaderTest]
    claims: _containers.RepeatedCompositeFieldContainer[ClaimTest]
    def __init__(self, connection: _Optional[_Union[Match, _Mapping]] = ..., remote_ips: _Optional[_Iterable[str]] = ..., not_remote_ips: _Optional[_Iterable[str]] = ..., request_principals: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_request_principals: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., audiences: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_audiences: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., presenters: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_presenters: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., server_names: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_server_names: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., hosts: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_hosts: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., methods: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_methods: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., paths: _Optional[_Iterable[_Union[PathPattern, _Mapping]]] = ..., not_paths: _Optional[_Iterable[_Union[PathPattern, _Mapping]]] = ..., headers: _Optional[_Iterable[_Union[HeaderTest, _Mapping]]] = ..., claims: _Optional[_Iterable[_Union[ClaimTest, _Mapping]]] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("namespaces", "not_namespaces", "principals", "not_principals", "service_accounts", "not_service_accounts", "source_ips", "not_source_ips", "destination_ips", "not_destination_ips", "destination_ports", "not_destination_ports")
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    NOT_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    NOT_PRINCIPALS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NOT_SERVICE_ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IPS_FIELD_NUMBER: _ClassVar[int]
    NOT_SOURCE_IPS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_IPS_FIELD_NUMBER: _ClassVar[int]
    NOT_DESTINATION_IPS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PORTS_FIELD_NUMBER: _ClassVar[int]
    NOT_DESTINATION_PORTS_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_namespaces: _containers.RepeatedCompositeFieldContainer[StringMatch]
    principals: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_principals: _containers.RepeatedCompositeFieldContainer[StringMatch]
    service_accounts: _containers.RepeatedCompositeFieldContainer[ServiceAccountMatch]
    not_service_accounts: _containers.RepeatedCompositeFieldContainer[ServiceAccountMatch]
    source_ips: _containers.RepeatedScalarFieldContainer[str]
    not_source_ips: _containers.RepeatedScalarFieldContainer[str]
    destination_ips: _containers.RepeatedScalarFieldContainer[str]
    not_destination_ips: _containers.RepeatedScalarFieldContainer[str]
    destination_ports: _containers.RepeatedScalarFieldContainer[int]
    not_destination_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, namespaces: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_namespaces: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., principals: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_principals: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., service_accounts: _Optional[_Iterable[_Union[ServiceAccountMatch, _Mapping]]] = ..., not_service_accounts: _Optional[_Iterable[_Union[ServiceAccountMatch, _Mapping]]] = ..., source_ips: _Optional[_Iterable[str]] = ..., not_source_ips: _Optional[_Iterable[str]] = ..., destination_ips: _Optional[_Iterable[str]] = ..., not_destination_ips: _Optional[_Iterable[str]] = ..., destination_ports: _Optional[_Iterable[int]] = ..., not_destination_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class StringMatch(_message.Message):
    __slots__ = ("kind", "value")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    kind: StringMatchKind
    value: str
    def __init__(self, kind: _Optional[_Union[StringMatchKind, str]] = ..., value: _Optional[str] = ...) -> None: ...

class ServiceAccountMatch(_message.Message):
    __slots__ = ("namespace", "service_account")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    service_account: str
    def __init__(self, namespace: _Optional[str] = ..., service_account: _Optional[str] = ...) -> None: ...

class PathPattern(_message.Message):
    __slots__ = ("string_match", "path_template")
    STRING_MATCH_FIELD_NUMBER: _ClassVar[int]
    PATH_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    string_match: StringMatch
    path_template: PathTemplate
    def __init__(self, string_match: _Optional[_Union[StringMatch, _Mapping]] = ..., path_template: _Optional[_Union[PathTemplate, _Mapping]] = ...) -> None: ...

class PathTemplate(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class HeaderTest(_message.Message):
    __slots__ = ("name", "values", "not_values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NOT_VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_values: _containers.RepeatedCompositeFieldContainer[StringMatch]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_values: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ...) -> None: ...

class ClaimTest(_message.Message):
    __slots__ = ("path", "values", "not_values")
    PATH_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NOT_VALUES_FIELD_NUMBER: _ClassVar[int]
    path: _containers.RepeatedScalarFieldContainer[str]
    values: _containers.RepeatedCompositeFieldContainer[StringMatch]
    not_values: _containers.RepeatedCompositeFieldContainer[StringMatch]
    def __init__(self, path: _Optional[_Iterable[str]] = ..., values: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ..., not_values: _Optional[_Iterable[_Union[StringMatch, _Mapping]]] = ...) -> None: ...

class JwtRule(_message.Message):
    __slots__ = ("issuer", "keys", "audiences", "sources", "is_required", "forwards_token", "payload_header", "claim_headers", "space_delimited", "fetch_timeout")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    IS_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    FORWARDS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_HEADER_FIELD_NUMBER: _ClassVar[int]
    CLAIM_HEADERS_FIELD_NUMBER: _ClassVar[int]
    SPACE_DELIMITED_FIELD_NUMBER: _ClassVar[int]
    FETCH_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    keys: Keys
    audiences: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedCompositeFieldContainer[TokenSource]
    is_required: bool
    forwards_token: bool
    payload_header: str
    claim_headers: _containers.RepeatedCompositeFieldContainer[Pair]
    space_delimited: _containers.RepeatedScalarFieldContainer[str]
    fetch_timeout: _duration_pb2.Duration
    def __init__(self, issuer: _Optional[str] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., audiences: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[_Union[TokenSource, _Mapping]]] = ..., is_required: _Optional[bool] = ..., forwards_token: _Optional[bool] = ..., payload_header: _Optional[str] = ..., claim_headers: _Optional[_Iterable[_Union[Pair, _Mapping]]] = ..., space_delimited: _Optional[_Iterable[str]] = ..., fetch_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Keys(_message.Message):
    __slots__ = ("keys_at", "keys_given", "keys_of_issuer")
    KEYS_AT_FIELD_NUMBER: _ClassVar[int]
    KEYS_GIVEN_FIELD_NUMBER: _ClassVar[int]
    KEYS_OF_ISSUER_FIELD_NUMBER: _ClassVar[int]
    keys_at: KeysAt
    keys_given: KeysGiven
    keys_of_issuer: KeysOfIssuer
    def __init__(self, keys_at: _Optional[_Union[KeysAt, _Mapping]] = ..., keys_given: _Optional[_Union[KeysGiven, _Mapping]] = ..., keys_of_issuer: _Optional[_Union[KeysOfIssuer, _Mapping]] = ...) -> None: ...

class KeysAt(_message.Message):
    __slots__ = ("url",)
    URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    def __init__(self, url: _Optional[str] = ...) -> None: ...

class KeysGiven(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: str
    def __init__(self, document: _Optional[str] = ...) -> None: ...

class KeysOfIssuer(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TokenSource(_message.Message):
    __slots__ = ("header_source", "parameter_source", "cookie_source")
    HEADER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    COOKIE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    header_source: HeaderSource
    parameter_source: ParameterSource
    cookie_source: CookieSource
    def __init__(self, header_source: _Optional[_Union[HeaderSource, _Mapping]] = ..., parameter_source: _Optional[_Union[ParameterSource, _Mapping]] = ..., cookie_source: _Optional[_Union[CookieSource, _Mapping]] = ...) -> None: ...

class HeaderSource(_message.Message):
    __slots__ = ("name", "prefix")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    name: str
    prefix: str
    def __init__(self, name: _Optional[str] = ..., prefix: _Optional[str] = ...) -> None: ...

class ParameterSource(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CookieSource(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: str
    second: str
    def __init__(self, first: _Optional[str] = ..., second: _Optional[str] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("name", "requests", "period", "burst", "key", "scope", "dry_run", "ports")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    requests: int
    period: _duration_pb2.Duration
    burst: int
    key: LimitKey
    scope: LimitScope
    dry_run: bool
    ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., requests: _Optional[int] = ..., period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., burst: _Optional[int] = ..., key: _Optional[_Union[LimitKey, _Mapping]] = ..., scope: _Optional[_Union[LimitScope, str]] = ..., dry_run: _Optional[bool] = ..., ports: _Optional[_Iterable[int]] = ...) -> None: ...

class LimitKey(_message.Message):
    __slots__ = ("together", "by_identity", "by_address", "by_header", "by_claim")
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    BY_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    BY_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BY_HEADER_FIELD_NUMBER: _ClassVar[int]
    BY_CLAIM_FIELD_NUMBER: _ClassVar[int]
    together: Together
    by_identity: ByIdentity
    by_address: ByAddress
    by_header: ByHeader
    by_claim: ByClaim
    def __init__(self, together: _Optional[_Union[Together, _Mapping]] = ..., by_identity: _Optional[_Union[ByIdentity, _Mapping]] = ..., by_address: _Optional[_Union[ByAddress, _Mapping]] = ..., by_header: _Optional[_Union[ByHeader, _Mapping]] = ..., by_claim: _Optional[_Union[ByClaim, _Mapping]] = ...) -> None: ...

class Together(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ByIdentity(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ByAddress(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ByHeader(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ByClaim(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Telemetry(_message.Message):
    __slots__ = ("tracing", "metrics", "access_log")
    TRACING_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    ACCESS_LOG_FIELD_NUMBER: _ClassVar[int]
    tracing: _containers.RepeatedCompositeFieldContainer[Tracing]
    metrics: _containers.RepeatedCompositeFieldContainer[Metrics]
    access_log: _containers.RepeatedCompositeFieldContainer[AccessLog]
    def __init__(self, tracing: _Optional[_Iterable[_Union[Tracing, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[Metrics, _Mapping]]] = ..., access_log: _Optional[_Iterable[_Union[AccessLog, _Mapping]]] = ...) -> None: ...

class Tracing(_message.Message):
    __slots__ = ("sides", "providers", "sampled_percent", "tags", "is_off", "propagates", "has_istio_tags", "samples_by_request_id")
    SIDES_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_PERCENT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    IS_OFF_FIELD_NUMBER: _ClassVar[int]
    PROPAGATES_FIELD_NUMBER: _ClassVar[int]
    HAS_ISTIO_TAGS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_BY_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    sides: _containers.RepeatedScalarFieldContainer[Side]
    providers: _containers.RepeatedScalarFieldContainer[str]
    sampled_percent: float
    tags: Tags
    is_off: bool
    propagates: bool
    has_istio_tags: bool
    samples_by_request_id: bool
    def __init__(self, sides: _Optional[_Iterable[_Union[Side, str]]] = ..., providers: _Optional[_Iterable[str]] = ..., sampled_percent: _Optional[float] = ..., tags: _Optional[_Union[Tags, _Mapping]] = ..., is_off: _Optional[bool] = ..., propagates: _Optional[bool] = ..., has_istio_tags: _Optional[bool] = ..., samples_by_request_id: _Optional[bool] = ...) -> None: ...

class Tags(_message.Message):
    __slots__ = ("entries",)
    class EntriesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tag
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tag, _Mapping]] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.MessageMap[str, Tag]
    def __init__(self, entries: _Optional[_Mapping[str, Tag]] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("literal_tag", "header_tag", "environment_tag", "formatted_tag")
    LITERAL_TAG_FIELD_NUMBER: _ClassVar[int]
    HEADER_TAG_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_TAG_FIELD_NUMBER: _ClassVar[int]
    FORMATTED_TAG_FIELD_NUMBER: _ClassVar[int]
    literal_tag: LiteralTag
    header_tag: HeaderTag
    environment_tag: EnvironmentTag
    formatted_tag: FormattedTag
    def __init__(self, literal_tag: _Optional[_Union[LiteralTag, _Mapping]] = ..., header_tag: _Optional[_Union[HeaderTag, _Mapping]] = ..., environment_tag: _Optional[_Union[EnvironmentTag, _Mapping]] = ..., formatted_tag: _Optional[_Union[FormattedTag, _Mapping]] = ...) -> None: ...

class LiteralTag(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class HeaderTag(_message.Message):
    __slots__ = ("name", "default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    default: str
    def __init__(self, name: _Optional[str] = ..., default: _Optional[str] = ...) -> None: ...

class EnvironmentTag(_message.Message):
    __slots__ = ("name", "default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    default: str
    def __init__(self, name: _Optional[str] = ..., default: _Optional[str] = ...) -> None: ...

class FormattedTag(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("providers", "overrides", "interval")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedScalarFieldContainer[str]
    overrides: _containers.RepeatedCompositeFieldContainer[MetricOverride]
    interval: _duration_pb2.Duration
    def __init__(self, providers: _Optional[_Iterable[str]] = ..., overrides: _Optional[_Iterable[_Union[MetricOverride, _Mapping]]] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MetricOverride(_message.Message):
    __slots__ = ("metric", "sides", "is_off", "tags")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OptionalText
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OptionalText, _Mapping]] = ...) -> None: ...
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SIDES_FIELD_NUMBER: _ClassVar[int]
    IS_OFF_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    metric: str
    sides: _containers.RepeatedScalarFieldContainer[Side]
    is_off: bool
    tags: _containers.MessageMap[str, OptionalText]
    def __init__(self, metric: _Optional[str] = ..., sides: _Optional[_Iterable[_Union[Side, str]]] = ..., is_off: _Optional[bool] = ..., tags: _Optional[_Mapping[str, OptionalText]] = ...) -> None: ...

class OptionalText(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class AccessLog(_message.Message):
    __slots__ = ("sides", "providers", "is_off", "filter")
    SIDES_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    IS_OFF_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    sides: _containers.RepeatedScalarFieldContainer[Side]
    providers: _containers.RepeatedScalarFieldContainer[str]
    is_off: bool
    filter: str
    def __init__(self, sides: _Optional[_Iterable[_Union[Side, str]]] = ..., providers: _Optional[_Iterable[str]] = ..., is_off: _Optional[bool] = ..., filter: _Optional[str] = ...) -> None: ...

class MeshSettings(_message.Message):
    __slots__ = ("trust_domain", "unknown_workloads", "same_node", "waypoint_bypass", "outbound")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    SAME_NODE_FIELD_NUMBER: _ClassVar[int]
    WAYPOINT_BYPASS_FIELD_NUMBER: _ClassVar[int]
    OUTBOUND_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    unknown_workloads: Permission
    same_node: SameNode
    waypoint_bypass: Permission
    outbound: Permission
    def __init__(self, trust_domain: _Optional[str] = ..., unknown_workloads: _Optional[_Union[Permission, str]] = ..., same_node: _Optional[_Union[SameNode, str]] = ..., waypoint_bypass: _Optional[_Union[Permission, str]] = ..., outbound: _Optional[_Union[Permission, str]] = ...) -> None: ...
