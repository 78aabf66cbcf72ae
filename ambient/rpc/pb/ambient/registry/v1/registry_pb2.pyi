from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeReport(_message.Message):
    __slots__ = ("full", "upserted", "removed_uids")
    FULL_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_UIDS_FIELD_NUMBER: _ClassVar[int]
    full: bool
    upserted: _containers.RepeatedCompositeFieldContainer[LocalWorkload]
    removed_uids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, full: _Optional[bool] = ..., upserted: _Optional[_Iterable[_Union[LocalWorkload, _Mapping]]] = ..., removed_uids: _Optional[_Iterable[str]] = ...) -> None: ...

class LocalWorkload(_message.Message):
    __slots__ = ("uid", "name", "namespace", "service_account", "labels", "addresses", "captured", "unhealthy", "exclusions")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIONS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    name: str
    namespace: str
    service_account: str
    labels: _containers.ScalarMap[str, str]
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    captured: bool
    unhealthy: bool
    exclusions: Exclusions
    def __init__(self, uid: _Optional[str] = ..., name: _Optional[str] = ..., namespace: _Optional[str] = ..., service_account: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., addresses: _Optional[_Iterable[bytes]] = ..., captured: _Optional[bool] = ..., unhealthy: _Optional[bool] = ..., exclusions: _Optional[_Union[Exclusions, _Mapping]] = ...) -> None: ...

class Exclusions(_message.Message):
    __slots__ = ("outbound_ports", "inbound_ports", "outbound_networks")
    OUTBOUND_PORTS_FIELD_NUMBER: _ClassVar[int]
    INBOUND_PORTS_FIELD_NUMBER: _ClassVar[int]
    OUTBOUND_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    outbound_ports: _containers.RepeatedScalarFieldContainer[int]
    inbound_ports: _containers.RepeatedScalarFieldContainer[int]
    outbound_networks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outbound_ports: _Optional[_Iterable[int]] = ..., inbound_ports: _Optional[_Iterable[int]] = ..., outbound_networks: _Optional[_Iterable[str]] = ...) -> None: ...

class NodeOrders(_message.Message):
    __slots__ = ("orders",)
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[WorkloadOrder]
    def __init__(self, orders: _Optional[_Iterable[_Union[WorkloadOrder, _Mapping]]] = ...) -> None: ...

class WorkloadOrder(_message.Message):
    __slots__ = ("uid", "error", "enrolled", "identity")
    UID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    uid: str
    error: str
    enrolled: bool
    identity: str
    def __init__(self, uid: _Optional[str] = ..., error: _Optional[str] = ..., enrolled: _Optional[bool] = ..., identity: _Optional[str] = ...) -> None: ...
