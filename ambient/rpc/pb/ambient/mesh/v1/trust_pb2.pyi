from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TrustBundle(_message.Message):
    __slots__ = ("roots_pem",)
    ROOTS_PEM_FIELD_NUMBER: _ClassVar[int]
    roots_pem: bytes
    def __init__(self, roots_pem: _Optional[bytes] = ...) -> None: ...

class RevocationLists(_message.Message):
    __slots__ = ("lists_pem",)
    LISTS_PEM_FIELD_NUMBER: _ClassVar[int]
    lists_pem: bytes
    def __init__(self, lists_pem: _Optional[bytes] = ...) -> None: ...
