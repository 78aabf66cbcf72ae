"""Values of the core as messages that mirror them, field by field and name by name.

A dataclass or named tuple is a message of its name; a union is a message with a ``oneof`` that has a field for each of its
members; a pair is a message of two fields; an enum has a member ``CLASS_NAME_MEMBER`` for each. What is optional may be
absent. A value that is another value's default is absent too, which is the same. Where a message cannot have a field of
a type (a list in a list, a mapping that may be absent, what is absent in a mapping) it has a message with that one field.
A mapping between the annotations of the one and the descriptors of the other is made once for each class, and fails then
if they say different things.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import Enum
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import isfinite
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from immutables import Map

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")
MISSING: Final = dataclasses.MISSING


class Invalid(ValueError):
    """A field of a message that means nothing; the text names it."""


class _Codec(NamedTuple):
    """How one type of value travels."""

    write: Callable[[Any], Any]
    read: Callable[[Any, str], Any]
    """Takes what the message holds, and where. Raises Invalid."""
    is_message: bool = False


class _Field(NamedTuple):
    """How one field of a class travels."""

    codec: _Codec
    is_optional: bool
    default: Any
    """MISSING: it must be there."""
    collection: type | None
    """tuple, frozenset or Map; None: it is one value."""


class Mirror:
    """The classes that some modules of messages mirror.

    ``checks`` say of a value that was read what is wrong with it, by class; None: nothing.
    """

    def __init__(self, modules: Iterable[Any], checks: Mapping[type, Callable[[Any], str | None]]) -> None:
        self._messages: dict[str, Any] = {
            name: getattr(module, name)
            for module in modules
            for name in module.DESCRIPTOR.message_types_by_name
        }
        self._enums: dict[str, Any] = {
            name: getattr(module, name) for module in modules for name in module.DESCRIPTOR.enum_types_by_name
        }
        self._checks = checks
        self._classes: dict[type, dict[str, _Field]] = {}

    def encode(self, value: Any) -> Message:  # noqa: ANN401
        """A value of a mirrored class as its message."""
        kind = type(value)
        fields: dict[str, Any] = {}
        for name, field in self._fields(kind).items():
            written = _written(field, getattr(value, name))
            if written is not None:
                fields[name] = written
        message: Message = self._messages[kind.__name__](**fields)
        return message

    def decode(self, kind: type, message: Any, where: str = "") -> Any:  # noqa: ANN401
        """A message of a class as its value. Raises Invalid."""
        fields: dict[str, Any] = {}
        for name, field in self._fields(kind).items():
            place = f"{where}.{name}" if where else name
            fields[name] = self._read(field, message, name, place)
        value = kind(**fields)
        check = self._checks.get(kind)
        why = None if check is None else check(value)
        if why is not None:
            raise Invalid(f"{where}.{why}" if where else why)
        return value

    def _read(self, field: _Field, message: Any, name: str, place: str) -> Any:  # noqa: ANN401
        held = getattr(message, name)
        read = field.codec.read
        if field.collection is Map:
            return Map({key: read(one, f"{place}[{key}]") for key, one in held.items()})
        if field.collection is not None:
            return field.collection(read(one, f"{place}[{i}]") for i, one in enumerate(held))
        if (field.is_optional or field.codec.is_message) and not message.HasField(name):
            if field.is_optional:
                return None
            if field.default is MISSING:
                raise Invalid(f"{place} is missing")
            return field.default
        return read(held, place)

    # Classes and types

    def _fields(self, kind: type) -> dict[str, _Field]:
        known = self._classes.get(kind)
        if known is None:
            known = self._classes[kind] = self._planned(kind)
        return known

    def _planned(self, kind: type) -> dict[str, _Field]:
        fields = {
            name: self._field(hint, _default(kind, name)) for name, hint in get_type_hints(kind).items()
        }
        mirrored = {field.name for field in self._messages[kind.__name__].DESCRIPTOR.fields}
        if mirrored != fields.keys():
            raise TypeError(f"{kind.__name__}: {sorted(mirrored ^ fields.keys())} is only on one side")
        return fields

    def _field(self, hint: Any, default: Any) -> _Field:  # noqa: ANN401
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Map:
            return _Field(self._codec(arguments[1]), is_optional=False, default=default, collection=Map)
        if origin is frozenset or (origin is tuple and arguments[-1] is Ellipsis):
            return _Field(self._codec(arguments[0]), is_optional=False, default=default, collection=origin)
        if origin in {Union, UnionType} and NoneType in arguments:
            rest = tuple(one for one in arguments if one is not NoneType)
            codec = self._codec(rest[0]) if len(rest) == 1 else self._union(rest)
            return _Field(codec, is_optional=True, default=None, collection=None)
        return _Field(self._codec(hint), is_optional=False, default=default, collection=None)

    def _codec(self, hint: Any) -> _Codec:  # noqa: ANN401
        if hint in _SIMPLE:
            return _SIMPLE[hint]
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Map or (origin is tuple and arguments[-1] is Ellipsis):
            return self._wrapped(hint)
        if origin in {Union, UnionType}:
            return self._wrapped(hint) if NoneType in arguments else self._union(arguments)
        if origin is tuple:
            return self._pair(arguments)
        if issubclass(hint, Enum):
            return self._enum(hint)
        return _Codec(self.encode, partial(self.decode, hint), is_message=True)

    def _wrapped(self, hint: Any) -> _Codec:  # noqa: ANN401
        """A list, a mapping or what may be absent, in a message of its own that has nothing else."""
        field = self._field(hint, MISSING)
        holder = self._message_of(hint)
        (descriptor,) = holder.DESCRIPTOR.fields
        name: str = descriptor.name

        def write(value: Any) -> Any:  # noqa: ANN401
            written = _written(field, value)
            return holder() if written is None else holder(**{name: written})

        def read(message: Any, where: str) -> Any:  # noqa: ANN401
            return self._read(field, message, name, f"{where}.{name}")

        return _Codec(write, read, is_message=True)

    def _message_of(self, hint: Any) -> Any:  # noqa: ANN401
        """The message that a type is."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Map:
            return self._only(lambda field: self._is_map_of(field, arguments[1]))
        if origin is tuple:
            return self._only(lambda field: field.is_repeated and self._is_of(field, arguments[0]))
        if origin in {Union, UnionType} and NoneType in arguments:
            (rest,) = (one for one in arguments if one is not NoneType)
            return self._only(
                lambda field: not field.is_repeated and field.has_presence and self._is_of(field, rest)
            )
        if origin in {Union, UnionType}:
            names = [_snake(one.__name__) for one in arguments]
            return next(
                message
                for message in self._messages.values()
                if [field.name for field in message.DESCRIPTOR.fields] == names and message.DESCRIPTOR.oneofs
            )
        return self._messages[hint.__name__]

    def _only(self, fits: Callable[[FieldDescriptor], bool]) -> Any:  # noqa: ANN401
        return next(
            message
            for message in self._messages.values()
            if len(message.DESCRIPTOR.fields) == 1 and fits(message.DESCRIPTOR.fields[0])
        )

    def _is_of(self, field: FieldDescriptor, hint: Any) -> bool:  # noqa: ANN401
        """Whether one value of a field is of a type."""
        if hint is str:
            return field.type == FieldDescriptor.TYPE_STRING
        message = field.message_type
        return message is not None and message == self._message_of(hint).DESCRIPTOR

    def _is_map_of(self, field: FieldDescriptor, hint: Any) -> bool:  # noqa: ANN401
        entry = field.message_type
        return (
            entry is not None
            and entry.GetOptions().map_entry
            and self._is_of(entry.fields_by_name["value"], hint)
        )

    def _union(self, members: tuple[type, ...]) -> _Codec:
        if set(members) == {IPv4Network, IPv6Network}:
            return _Codec(str, _network)
        holder = self._message_of(Union[members])  # noqa: UP007
        names = {one: _snake(one.__name__) for one in members}
        codecs = {name: self._codec(one) for one, name in names.items()}

        def write(value: Any) -> Any:  # noqa: ANN401
            name = names[type(value)]
            return holder(**{name: codecs[name].write(value)})

        def read(message: Any, where: str) -> Any:  # noqa: ANN401
            name = message.WhichOneof("kind")
            if name is None:
                raise Invalid(f"{where} is of no kind that is known")
            return codecs[name].read(getattr(message, name), f"{where}.{name}")

        return _Codec(write, read, is_message=True)

    def _pair(self, members: tuple[type, ...]) -> _Codec:
        first, second = (self._codec(one) for one in members)
        holder = self._messages["Range" if members[0] is int else "Pair"]
        return _Codec(
            lambda value: holder(first=first.write(value[0]), second=second.write(value[1])),
            lambda held, where: (
                first.read(held.first, f"{where}.first"),
                second.read(held.second, f"{where}.second"),
            ),
            is_message=True,
        )

    def _enum(self, kind: type[Enum]) -> _Codec:
        prefix = _snake(kind.__name__).upper()
        mirrored = self._enums[kind.__name__]
        numbers = {one: mirrored.Value(f"{prefix}_{one.name}") for one in kind}
        members = {number: one for one, number in numbers.items()}

        def read(number: int, where: str) -> Enum:
            if number not in members:
                raise Invalid(f"{where} is {number}, which is unknown")
            return members[number]

        return _Codec(numbers.__getitem__, read)


def _written(field: _Field, held: Any) -> Any:  # noqa: ANN401
    """What a message holds; None: nothing."""
    write = field.codec.write
    if field.collection is Map:
        return {key: write(one) for key, one in held.items()}
    if field.collection is not None:
        written = [write(one) for one in held]
        return written if field.collection is tuple else sorted(written)
    if held is None or (field.codec.is_message and held == field.default):
        return None
    return write(held)


def _default(kind: type, name: str) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(kind):
        return next(field.default for field in dataclasses.fields(kind) if field.name == name)
    defaults: Mapping[str, Any] = getattr(kind, "_field_defaults", {})
    return defaults.get(name, MISSING)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _itself(value: T) -> T:
    return value


def _read_as_it_is(value: T, _: str) -> T:
    return value


def _number(value: float, where: str) -> float:
    if not isfinite(value):
        raise Invalid(f"{where} is {value}; it is a number")
    return value


def _network(text: str, where: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise Invalid(f"{where} is {text!r}; it is a network such as 10.0.0.0/8") from error


def _duration(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message


def _timedelta(message: Duration, where: str) -> timedelta:
    try:
        value = message.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{where} is no duration") from error
    if value < timedelta():
        raise Invalid(f"{where} is less than nothing")
    return value


_SIMPLE: Final[Mapping[Any, _Codec]] = {
    str: _Codec(_itself, _read_as_it_is),
    int: _Codec(_itself, _read_as_it_is),
    bool: _Codec(_itself, _read_as_it_is),
    float: _Codec(_itself, _number),
    timedelta: _Codec(_duration, _timedelta, is_message=True),
}
