from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Version(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOT_USED: _ClassVar[Version]
    V1: _ClassVar[Version]
NOT_USED: Version
V1: Version

class ZdsHello(_message.Message):
    __slots__ = ("version", "extensions", "returning")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    RETURNING_FIELD_NUMBER: _ClassVar[int]
    version: Version
    extensions: _containers.RepeatedScalarFieldContainer[str]
    returning: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[_Union[Version, str]] = ..., extensions: _Optional[_Iterable[str]] = ..., returning: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkloadInfo(_message.Message):
    __slots__ = ("name", "namespace", "service_account", "labels", "addresses", "netns_cookie", "capture", "exclusions", "unhealthy")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NETNS_COOKIE_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIONS_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    namespace: str
    service_account: str
    labels: _containers.ScalarMap[str, str]
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    netns_cookie: int
    capture: SetCapture.Mode
    exclusions: Exclusions
    unhealthy: bool
    def __init__(self, name: _Optional[str] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., addresses: _Optional[_Iterable[bytes]] = ..., netns_cookie: _Optional[int] = ..., capture: _Optional[_Union[SetCapture.Mode, str]] = ..., exclusions: _Optional[_Union[Exclusions, _Mapping]] = ..., unhealthy: _Optional[bool] = ...) -> None: ...

class Exclusions(_message.Message):
    __slots__ = ("outbound_ports", "inbound_ports", "outbound_networks")
    OUTBOUND_PORTS_FIELD_NUMBER: _ClassVar[int]
    INBOUND_PORTS_FIELD_NUMBER: _ClassVar[int]
    OUTBOUND_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    outbound_ports: _containers.RepeatedScalarFieldContainer[int]
    inbound_ports: _containers.RepeatedScalarFieldContainer[int]
    outbound_networks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outbound_ports: _Optional[_Iterable[int]] = ..., inbound_ports: _Optional[_Iterable[int]] = ..., outbound_networks: _Optional[_Iterable[str]] = ...) -> None: ...

class AddWorkload(_message.Message):
    __slots__ = ("uid", "workload_info")
    UID_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_INFO_FIELD_NUMBER: _ClassVar[int]
    uid: str
    workload_info: WorkloadInfo
    def __init__(self, uid: _Optional[str] = ..., workload_info: _Optional[_Union[WorkloadInfo, _Mapping]] = ...) -> None: ...

class KeepWorkload(_message.Message):
    __slots__ = ("uid",)
    UID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    def __init__(self, uid: _Optional[str] = ...) -> None: ...

class DelWorkload(_message.Message):
    __slots__ = ("uid", "now")
    UID_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    uid: str
    now: bool
    def __init__(self, uid: _Optional[str] = ..., now: _Optional[bool] = ...) -> None: ...

class SnapshotSent(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("node", "maps")
    NODE_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    node: str
    maps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., maps: _Optional[_Iterable[str]] = ...) -> None: ...

class Deposited(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "error", "connections", "more")
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    id: int
    error: str
    connections: _containers.RepeatedCompositeFieldContainer[Connection]
    more: bool
    def __init__(self, id: _Optional[int] = ..., error: _Optional[str] = ..., connections: _Optional[_Iterable[_Union[Connection, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class WorkloadRequest(_message.Message):
    __slots__ = ("add", "snapshot_sent", "keep", "welcome", "deposited", "result")
    ADD_FIELD_NUMBER: _ClassVar[int]
    DEL_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_SENT_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DEPOSITED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    add: AddWorkload
    snapshot_sent: SnapshotSent
    keep: KeepWorkload
    welcome: Welcome
    deposited: Deposited
    result: Result
    def __init__(self, add: _Optional[_Union[AddWorkload, _Mapping]] = ..., snapshot_sent: _Optional[_Union[SnapshotSent, _Mapping]] = ..., keep: _Optional[_Union[KeepWorkload, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., deposited: _Optional[_Union[Deposited, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., **kwargs) -> None: ...

class Ack(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: str
    def __init__(self, error: _Optional[str] = ...) -> None: ...

class SetCapture(_message.Message):
    __slots__ = ("uid", "mode")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OFF: _ClassVar[SetCapture.Mode]
        DRAINING: _ClassVar[SetCapture.Mode]
        ON: _ClassVar[SetCapture.Mode]
    OFF: SetCapture.Mode
    DRAINING: SetCapture.Mode
    ON: SetCapture.Mode
    UID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    uid: str
    mode: SetCapture.Mode
    def __init__(self, uid: _Optional[str] = ..., mode: _Optional[_Union[SetCapture.Mode, str]] = ...) -> None: ...

class Deposit(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Returned(_message.Message):
    __slots__ = ("uid",)
    UID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    def __init__(self, uid: _Optional[str] = ...) -> None: ...

class Connection(_message.Message):
    __slots__ = ("local_ip", "local_port", "remote_ip", "remote_port", "inbound", "cookie")
    LOCAL_IP_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PORT_FIELD_NUMBER: _ClassVar[int]
    REMOTE_IP_FIELD_NUMBER: _ClassVar[int]
    REMOTE_PORT_FIELD_NUMBER: _ClassVar[int]
    INBOUND_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    local_ip: bytes
    local_port: int
    remote_ip: bytes
    remote_port: int
    inbound: bool
    cookie: int
    def __init__(self, local_ip: _Optional[bytes] = ..., local_port: _Optional[int] = ..., remote_ip: _Optional[bytes] = ..., remote_port: _Optional[int] = ..., inbound: _Optional[bool] = ..., cookie: _Optional[int] = ...) -> None: ...

class ListConnections(_message.Message):
    __slots__ = ("uid",)
    UID_FIELD_NUMBER: _ClassVar[int]
    uid: str
    def __init__(self, uid: _Optional[str] = ...) -> None: ...

class DestroyConnections(_message.Message):
    __slots__ = ("uid", "connections")
    UID_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    connections: _containers.RepeatedCompositeFieldContainer[Connection]
    def __init__(self, uid: _Optional[str] = ..., connections: _Optional[_Iterable[_Union[Connection, _Mapping]]] = ...) -> None: ...

class WorkloadResponse(_message.Message):
    __slots__ = ("ack", "set_capture", "deposit", "returned", "list_connections", "destroy_connections", "id")
    ACK_FIELD_NUMBER: _ClassVar[int]
    SET_CAPTURE_FIELD_NUMBER: _ClassVar[int]
    DEPOSIT_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    LIST_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    DESTROY_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ack: Ack
    set_capture: SetCapture
    deposit: Deposit
    returned: Returned
    list_connections: ListConnections
    destroy_connections: DestroyConnections
    id: int
    def __init__(self, ack: _Optional[_Union[Ack, _Mapping]] = ..., set_capture: _Optional[_Union[SetCapture, _Mapping]] = ..., deposit: _Optional[_Union[Deposit, _Mapping]] = ..., returned: _Optional[_Union[Returned, _Mapping]] = ..., list_connections: _Optional[_Union[ListConnections, _Mapping]] = ..., destroy_connections: _Optional[_Union[DestroyConnections, _Mapping]] = ..., id: _Optional[int] = ...) -> None: ...
