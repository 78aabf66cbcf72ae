"""Expressions in CEL, as far as telemetry has a use for them.

There are literals, attributes, ``[]``, ``.``, comparisons, ``in``, ``+``, logic, ``?:``, lists, ``has``, ``size``, ``string``,
``int``, ``startsWith``, ``endsWith``, ``contains`` and ``matches``; no macros, and so no loops: what an expression costs is
bounded by its length. Of ``&&`` and ``||`` an error on one side counts for nothing where the other decides. Source: the
language definition of CEL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from ambient.core.errors import ConfigError
from ambient.core.patterns import BadPattern, compiled

LONGEST: Final = 1024
DEEPEST: Final = 32

Attributes: TypeAlias = Callable[[str], object]
"""The value of an attribute by its whole name, such as ``request.headers``; raises KeyError where there is none."""
Evaluate: TypeAlias = Callable[[Attributes], object]


class ExpressionError(ConfigError):
    """Not an expression that can be evaluated here."""

    reason = "expression"


class Failed(Exception):
    """An expression has no value for these attributes."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One that was read."""

    attributes: frozenset[str]
    """What it asks for."""
    evaluate: Evaluate
    """Its value; raises Failed."""

    def holds(self, attributes: Attributes) -> bool:
        """Whether it is true; one without a value is not."""
        try:
            return self.evaluate(attributes) is True
        except Failed:
            return False

    def text(self, attributes: Attributes, default: str) -> str:
        """Its value as text."""
        try:
            return _string(self.evaluate(attributes))
        except Failed:
            return default


def read(text: str, known: Collection[str]) -> Expression:
    """Read an expression that asks for attributes among ``known``. Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has no more than {LONGEST} characters")
    reader = _Reader(_tokens(text), frozenset(known))
    evaluate = reader.whole()
    return Expression(frozenset(reader.asked), evaluate)


# Words


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_WORDS: Final = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+|\d+)(?![\w.])
        |(?P<text>r?"(?:[^"\\\n]|\\.)*"|r?'(?:[^'\\\n]|\\.)*')
        |(?P<name>[A-Za-z_]\w*)
        |(?P<sign>&&|\|\||==|!=|<=|>=|[-+<>!?:().,\[\]]))""",
    re.VERBOSE | re.ASCII,
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        word = _WORDS.match(text, at)
        if word is None or word.lastgroup is None:
            raise ExpressionError(f"cannot be read from {text[at : at + 20]!r} on")
        found.append(_Token(word.lastgroup, word[word.lastgroup], word.start(word.lastgroup)))
        at = word.end()
    return [*found, _Token("end", "", at)]


def _literal(text: str) -> str:
    if text.startswith("r"):
        return text[2:-1]

    def undone(escape: re.Match[str]) -> str:
        if escape[1] not in _ESCAPES:
            raise ExpressionError(f"{escape[0]} is no escape that is known here")
        return _ESCAPES[escape[1]]

    return re.sub(r"\\(.)", undone, text[1:-1])


# Grammar


class _Reader:
    """Recursive descent, each level of which makes a closure."""

    def __init__(self, tokens: list[_Token], known: frozenset[str]) -> None:
        self._tokens, self._known, self._next, self._depth = tokens, known, 0, 0
        self._prefixes = {
            ".".join(name.split(".")[:length]) for name in known for length in range(1, name.count(".") + 1)
        }
        self.asked: set[str] = set()

    def whole(self) -> Evaluate:
        made = self._choice()
        if self._token.kind != "end":
            raise self._unexpected()
        return made

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _unexpected(self) -> ExpressionError:
        token = self._token
        return ExpressionError(f"{token.text!r} is not expected" if token.text else "it ends too early")

    def _takes(self, *signs: str) -> str | None:
        token = self._token
        if token.text in signs and token.kind in {"sign", "name"}:
            self._next += 1
            return token.text
        return None

    def _needs(self, sign: str) -> None:
        if self._takes(sign) is None:
            raise self._unexpected()

    def _choice(self) -> Evaluate:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError(f"an expression is no deeper than {DEEPEST}")
        condition = self._any()
        if self._takes("?"):
            then = self._choice()
            self._needs(":")
            otherwise = self._choice()
            self._depth -= 1
            return lambda attributes: (then if _truth(condition(attributes)) else otherwise)(attributes)
        self._depth -= 1
        return condition

    def _any(self) -> Evaluate:
        parts = [self._all()]
        while self._takes("||"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else _deciding(parts, decider=True)

    def _all(self) -> Evaluate:
        parts = [self._relation()]
        while self._takes("&&"):
            parts.append(self._relation())
        return parts[0] if len(parts) == 1 else _deciding(parts, decider=False)

    def _relation(self) -> Evaluate:
        left = self._sum()
        while sign := self._takes("==", "!=", "<", "<=", ">", ">=", "in"):
            left = _comparing(_COMPARISONS[sign], left, self._sum())
        return left

    def _sum(self) -> Evaluate:
        left = self._signed()
        while self._takes("+"):
            left = _comparing(_added, left, self._signed())
        return left

    def _signed(self) -> Evaluate:
        nots = minuses = 0
        while sign := self._takes("!", "-"):
            nots, minuses = nots + (sign == "!"), minuses + (sign == "-")
            if nots + minuses > DEEPEST or (nots and minuses):
                raise self._unexpected()
        value = self._member()
        if nots:
            return lambda attributes: _truth(value(attributes)) is (nots % 2 == 0)
        if minuses:
            return lambda attributes: _number(value(attributes)) * (-1) ** minuses
        return value

    def _member(self) -> Evaluate:
        value = self._primary()
        while True:
            if self._takes("."):
                name = self._name()
                value = self._call_on(value, name) if self._takes("(") else _selecting(value, name)
            elif self._takes("["):
                index = self._choice()
                self._needs("]")
                value = _comparing(_indexed, value, index)
            else:
                return value

    def _primary(self) -> Evaluate:
        token = self._token
        self._next += 1
        match token.kind:
            case "number":
                number = float(token.text) if "." in token.text else int(token.text)
                return lambda _: number
            case "text":
                text = _literal(token.text)
                return lambda _: text
            case "name":
                return self._named(token)
            case "sign" if token.text == "(":
                inner = self._choice()
                self._needs(")")
                return inner
            case "sign" if token.text == "[":
                items = self._arguments("]")
                return lambda attributes: [item(attributes) for item in items]
            case _:
                self._next -= 1
                raise self._unexpected()

    def _named(self, token: _Token) -> Evaluate:
        name = token.text
        if name in _CONSTANTS:
            constant = _CONSTANTS[name]
            return lambda _: constant
        if self._takes("("):
            if name == "has":
                return self._has()
            if name not in _FUNCTIONS:
                raise ExpressionError(f"there is no function {name} here")
            return self._call(_FUNCTIONS[name], 1, ())
        while name not in self._known and name in self._prefixes and self._takes("."):
            name = f"{name}.{self._name()}"
        if name not in self._known:
            raise ExpressionError(f"there is no attribute {name} here")
        self.asked.add(name)
        return lambda attributes: _attribute(attributes, name)

    def _name(self) -> str:
        token = self._token
        if token.kind != "name":
            raise self._unexpected()
        self._next += 1
        return token.text

    def _has(self) -> Evaluate:
        value = self._member()
        self._needs(")")

        def has(attributes: Attributes) -> bool:
            try:
                return value(attributes) is not None
            except Failed:
                return False

        return has

    def _call_on(self, value: Evaluate, name: str) -> Evaluate:
        if name in _METHODS:
            return self._call(_METHODS[name], 2, (value,))
        if name == "matches":
            token = self._token
            if token.kind != "text":
                raise ExpressionError("matches takes a text that is written there")
            self._next += 1
            self._needs(")")
            return _matching(value, _literal(token.text))
        raise ExpressionError(f"there is no function {name} here")

    def _call(self, function: Callable[..., object], count: int, first: tuple[Evaluate, ...]) -> Evaluate:
        arguments = (*first, *self._arguments(")"))
        if len(arguments) != count:
            raise ExpressionError(f"a function takes {count - len(first)} here")
        return lambda attributes: function(*(argument(attributes) for argument in arguments))

    def _arguments(self, end: str) -> list[Evaluate]:
        found: list[Evaluate] = []
        while not self._takes(end):
            if found:
                self._needs(",")
            found.append(self._choice())
        return found


# Values


_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Failed("not a truth")


def _number(value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Failed("not a number")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise Failed("not a text")


def _string(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise Failed("no text stands for it")


def _integer(value: object) -> int:
    if isinstance(value, str):
        if re.fullmatch(r"[+-]?[0-9]{1,18}", value):
            return int(value)
        raise Failed("not a number")
    number = _number(value)
    if number - number != 0:
        raise Failed("not a number")
    return int(number)


def _size(value: object) -> int:
    if isinstance(value, str | list | Mapping):
        return len(value)
    raise Failed("it has no size")


def _attribute(attributes: Attributes, name: str) -> object:
    try:
        return attributes(name)
    except KeyError:
        raise Failed(f"no {name}") from None


def _indexed(value: object, index: object) -> object:
    match value, index:
        case Mapping(), str() if index in value:
            return value[index]
        case list(), int() if not isinstance(index, bool) and 0 <= index < len(value):
            return value[index]
        case _:
            raise Failed("there is no such item")


def _selecting(value: Evaluate, name: str) -> Evaluate:
    return lambda attributes: _indexed(value(attributes), name)


def _matching(value: Evaluate, text: str) -> Evaluate:
    """Anywhere in the value, unlike the patterns of routes."""
    try:
        compiled(text)
        pattern = compiled(f"(?s:.*)(?:{text})(?s:.*)")
    except BadPattern as error:
        raise ExpressionError(f"{text!r}: {error}") from error
    return lambda attributes: pattern.fits(_text(value(attributes)))


def _deciding(parts: list[Evaluate], *, decider: bool) -> Evaluate:
    def decide(attributes: Attributes) -> bool:
        failure: Failed | None = None
        for part in parts:
            try:
                if _truth(part(attributes)) is decider:
                    return decider
            except Failed as error:
                failure = error
        if failure is not None:
            raise failure
        return not decider

    return decide


def _comparing(compare: Callable[[object, object], object], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda attributes: compare(left(attributes), right(attributes))


def _added(left: object, right: object) -> object:
    if isinstance(left, str):
        return left + _text(right)
    return _number(left) + _number(right)


def _is_equal(left: object, right: object) -> bool:
    return isinstance(left, bool) is isinstance(right, bool) and left == right


def _is_in(left: object, right: object) -> bool:
    if isinstance(right, list):
        return any(_is_equal(left, item) for item in right)
    if isinstance(right, Mapping):
        return left in right
    raise Failed("nothing is in it")


def _ordered(left: object, right: object) -> int:
    """Below zero, zero or above."""
    if isinstance(left, str):
        other = _text(right)
        return (left > other) - (left < other)
    one, two = _number(left), _number(right)
    return (one > two) - (one < two)


_COMPARISONS: Final[Mapping[str, Callable[[object, object], object]]] = {
    "==": _is_equal,
    "!=": lambda left, right: not _is_equal(left, right),
    "<": lambda left, right: _ordered(left, right) < 0,
    "<=": lambda left, right: _ordered(left, right) <= 0,
    ">": lambda left, right: _ordered(left, right) > 0,
    ">=": lambda left, right: _ordered(left, right) >= 0,
    "in": _is_in,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., object]]] = {"size": _size, "string": _string, "int": _integer}
_METHODS: Final[Mapping[str, Callable[..., object]]] = {
    "startsWith": lambda text, part: _text(text).startswith(_text(part)),
    "endsWith": lambda text, part: _text(text).endswith(_text(part)),
    "contains": lambda text, part: _text(part) in _text(text),
}
