import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PersistenceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERSISTENCE_KIND_UNSPECIFIED: _ClassVar[PersistenceKind]
    PERSISTENCE_KIND_COOKIE: _ClassVar[PersistenceKind]
    PERSISTENCE_KIND_HEADER: _ClassVar[PersistenceKind]

class Simple(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIMPLE_UNSPECIFIED: _ClassVar[Simple]
    SIMPLE_LEAST_REQUEST: _ClassVar[Simple]
    SIMPLE_ROUND_ROBIN: _ClassVar[Simple]
    SIMPLE_RANDOM: _ClassVar[Simple]
    SIMPLE_PASSTHROUGH: _ClassVar[Simple]
PERSISTENCE_KIND_UNSPECIFIED: PersistenceKind
PERSISTENCE_KIND_COOKIE: PersistenceKind
PERSISTENCE_KIND_HEADER: PersistenceKind
SIMPLE_UNSPECIFIED: Simple
SIMPLE_LEAST_REQUEST: Simple
SIMPLE_ROUND_ROBIN: Simple
SIMPLE_RANDOM: Simple
SIMPLE_PASSTHROUGH: Simple

class TrafficPolicies(_message.Message):
    __slots__ = ("policy", "ports", "subsets", "opaque_ports")
    class PortsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: TrafficPolicy
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[TrafficPolicy, _Mapping]] = ...) -> None: ...
    class SubsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Subset
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Subset, _Mapping]] = ...) -> None: ...
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    SUBSETS_FIELD_NUMBER: _ClassVar[int]
    OPAQUE_PORTS_FIELD_NUMBER: _ClassVar[int]
    policy: TrafficPolicy
    ports: _containers.MessageMap[int, TrafficPolicy]
    subsets: _containers.MessageMap[str, Subset]
    opaque_ports: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, policy: _Optional[_Union[TrafficPolicy, _Mapping]] = ..., ports: _Optional[_Mapping[int, TrafficPolicy]] = ..., subsets: _Optional[_Mapping[str, Subset]] = ..., opaque_ports: _Optional[_Iterable[int]] = ...) -> None: ...

class Subset(_message.Message):
    __slots__ = ("name", "labels", "policy", "ports")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PortsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: TrafficPolicy
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[TrafficPolicy, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.ScalarMap[str, str]
    policy: TrafficPolicy
    ports: _containers.MessageMap[int, TrafficPolicy]
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., policy: _Optional[_Union[TrafficPolicy, _Mapping]] = ..., ports: _Optional[_Mapping[int, TrafficPolicy]] = ...) -> None: ...

class TrafficPolicy(_message.Message):
    __slots__ = ("balancer", "limits", "outlier", "accrual", "budget", "warmup", "locality", "persistence")
    BALANCER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_FIELD_NUMBER: _ClassVar[int]
    ACCRUAL_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    LOCALITY_FIELD_NUMBER: _ClassVar[int]
    PERSISTENCE_FIELD_NUMBER: _ClassVar[int]
    balancer: Balancer
    limits: ConnectionLimits
    outlier: Outlier
    accrual: Accrual
    budget: RetryBudget
    warmup: _duration_pb2.Duration
    locality: LocalityPolicy
    persistence: Persistence
    def __init__(self, balancer: _Optional[_Union[Balancer, _Mapping]] = ..., limits: _Optional[_Union[ConnectionLimits, _Mapping]] = ..., outlier: _Optional[_Union[Outlier, _Mapping]] = ..., accrual: _Optional[_Union[Accrual, _Mapping]] = ..., budget: _Optional[_Union[RetryBudget, _Mapping]] = ..., warmup: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., locality: _Optional[_Union[LocalityPolicy, _Mapping]] = ..., persistence: _Optional[_Union[Persistence, _Mapping]] = ...) -> None: ...

class Persistence(_message.Message):
    __slots__ = ("kind", "name", "lifetime", "is_permanent")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    IS_PERMANENT_FIELD_NUMBER: _ClassVar[int]
    kind: PersistenceKind
    name: str
    lifetime: _duration_pb2.Duration
    is_permanent: bool
    def __init__(self, kind: _Optional[_Union[PersistenceKind, str]] = ..., name: _Optional[str] = ..., lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., is_permanent: _Optional[bool] = ...) -> None: ...

class Balancer(_message.Message):
    __slots__ = ("simple", "ring_hash", "maglev")
    SIMPLE_FIELD_NUMBER: _ClassVar[int]
    RING_HASH_FIELD_NUMBER: _ClassVar[int]
    MAGLEV_FIELD_NUMBER: _ClassVar[int]
    simple: Simple
    ring_hash: RingHash
    maglev: Maglev
    def __init__(self, simple: _Optional[_Union[Simple, str]] = ..., ring_hash: _Optional[_Union[RingHash, _Mapping]] = ..., maglev: _Optional[_Union[Maglev, _Mapping]] = ...) -> None: ...

class RingHash(_message.Message):
    __slots__ = ("key", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: HashKey
    size: int
    def __init__(self, key: _Optional[_Union[HashKey, _Mapping]] = ..., size: _Optional[int] = ...) -> None: ...

class Maglev(_message.Message):
    __slots__ = ("key", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: HashKey
    size: int
    def __init__(self, key: _Optional[_Union[HashKey, _Mapping]] = ..., size: _Optional[int] = ...) -> None: ...

class HashKey(_message.Message):
    __slots__ = ("hash_header", "hash_cookie", "hash_query", "hash_source")
    HASH_HEADER_FIELD_NUMBER: _ClassVar[int]
    HASH_COOKIE_FIELD_NUMBER: _ClassVar[int]
    HASH_QUERY_FIELD_NUMBER: _ClassVar[int]
    HASH_SOURCE_FIELD_NUMBER: _ClassVar[int]
    hash_header: HashHeader
    hash_cookie: HashCookie
    hash_query: HashQuery
    hash_source: HashSource
    def __init__(self, hash_header: _Optional[_Union[HashHeader, _Mapping]] = ..., hash_cookie: _Optional[_Union[HashCookie, _Mapping]] = ..., hash_query: _Optional[_Union[HashQuery, _Mapping]] = ..., hash_source: _Optional[_Union[HashSource, _Mapping]] = ...) -> None: ...

class HashHeader(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class HashCookie(_message.Message):
    __slots__ = ("name", "path", "ttl")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    ttl: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class HashQuery(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class HashSource(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConnectionLimits(_message.Message):
    __slots__ = ("connections", "pending_requests", "requests", "requests_per_connection", "retries", "streams_per_connection", "connect_timeout", "idle_timeout", "longest_connection", "upgrade_to_http2")
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    PENDING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_PER_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LONGEST_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    UPGRADE_TO_HTTP2_FIELD_NUMBER: _ClassVar[int]
    connections: int
    pending_requests: int
    requests: int
    requests_per_connection: int
    retries: int
    streams_per_connection: int
    connect_timeout: _duration_pb2.Duration
    idle_timeout: _duration_pb2.Duration
    longest_connection: _duration_pb2.Duration
    upgrade_to_http2: bool
    def __init__(self, connections: _Optional[int] = ..., pending_requests: _Optional[int] = ..., requests: _Optional[int] = ..., requests_per_connection: _Optional[int] = ..., retries: _Optional[int] = ..., streams_per_connection: _Optional[int] = ..., connect_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., longest_connection: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., upgrade_to_http2: _Optional[bool] = ...) -> None: ...

class Outlier(_message.Message):
    __slots__ = ("consecutive_5xx", "consecutive_gateway_errors", "consecutive_local_failures", "splits_local_failures", "interval", "base_ejection", "most_ejected_percent", "least_healthy_percent")
    CONSECUTIVE_5XX_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_GATEWAY_ERRORS_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_LOCAL_FAILURES_FIELD_NUMBER: _ClassVar[int]
    SPLITS_LOCAL_FAILURES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    BASE_EJECTION_FIELD_NUMBER: _ClassVar[int]
    MOST_EJECTED_PERCENT_FIELD_NUMBER: _ClassVar[int]
    LEAST_HEALTHY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    consecutive_5xx: int
    consecutive_gateway_errors: int
    consecutive_local_failures: int
    splits_local_failures: bool
    interval: _duration_pb2.Duration
    base_ejection: _duration_pb2.Duration
    most_ejected_percent: int
    least_healthy_percent: int
    def __init__(self, consecutive_5xx: _Optional[int] = ..., consecutive_gateway_errors: _Optional[int] = ..., consecutive_local_failures: _Optional[int] = ..., splits_local_failures: _Optional[bool] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., base_ejection: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., most_ejected_percent: _Optional[int] = ..., least_healthy_percent: _Optional[int] = ...) -> None: ...

class Accrual(_message.Message):
    __slots__ = ("consecutive_failures", "success_rate", "least_penalty", "most_penalty", "jitter_ratio")
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    LEAST_PENALTY_FIELD_NUMBER: _ClassVar[int]
    MOST_PENALTY_FIELD_NUMBER: _ClassVar[int]
    JITTER_RATIO_FIELD_NUMBER: _ClassVar[int]
    consecutive_failures: int
    success_rate: SuccessRate
    least_penalty: _duration_pb2.Duration
    most_penalty: _duration_pb2.Duration
    jitter_ratio: float
    def __init__(self, consecutive_failures: _Optional[int] = ..., success_rate: _Optional[_Union[SuccessRate, _Mapping]] = ..., least_penalty: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., most_penalty: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jitter_ratio: _Optional[float] = ...) -> None: ...

class SuccessRate(_message.Message):
    __slots__ = ("threshold", "window", "least_requests")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LEAST_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    window: _duration_pb2.Duration
    least_requests: int
    def __init__(self, threshold: _Optional[float] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., least_requests: _Optional[int] = ...) -> None: ...

class RetryBudget(_message.Message):
    __slots__ = ("ratio_budget", "concurrency_budget")
    RATIO_BUDGET_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_BUDGET_FIELD_NUMBER: _ClassVar[int]
    ratio_budget: RatioBudget
    concurrency_budget: ConcurrencyBudget
    def __init__(self, ratio_budget: _Optional[_Union[RatioBudget, _Mapping]] = ..., concurrency_budget: _Optional[_Union[ConcurrencyBudget, _Mapping]] = ...) -> None: ...

class RatioBudget(_message.Message):
    __slots__ = ("ratio", "least_per_second", "window")
    RATIO_FIELD_NUMBER: _ClassVar[int]
    LEAST_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ratio: float
    least_per_second: float
    window: _duration_pb2.Duration
    def __init__(self, ratio: _Optional[float] = ..., least_per_second: _Optional[float] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ConcurrencyBudget(_message.Message):
    __slots__ = ("ratio", "least")
    RATIO_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    ratio: float
    least: int
    def __init__(self, ratio: _Optional[float] = ..., least: _Optional[int] = ...) -> None: ...

class LocalityPolicy(_message.Message):
    __slots__ = ("is_on", "weights", "failover", "priorities")
    IS_ON_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    FAILOVER_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    is_on: bool
    weights: _containers.RepeatedCompositeFieldContainer[LocalityWeights]
    failover: _containers.RepeatedCompositeFieldContainer[Pair]
    priorities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, is_on: _Optional[bool] = ..., weights: _Optional[_Iterable[_Union[LocalityWeights, _Mapping]]] = ..., failover: _Optional[_Iterable[_Union[Pair, _Mapping]]] = ..., priorities: _Optional[_Iterable[str]] = ...) -> None: ...

class LocalityWeights(_message.Message):
    __slots__ = ("source", "to")
    class ToEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    source: str
    to: _containers.ScalarMap[str, int]
    def __init__(self, source: _Optional[str] = ..., to: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Pair(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: str
    second: str
    def __init__(self, first: _Optional[str] = ..., second: _Optional[str] = ...) -> None: ...
