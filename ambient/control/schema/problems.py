"""What pydantic found wrong, as sentences: the path of the field, what it is, what it should be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails, ValidationError

from ambient.control.problem import Problem, Reason
from ambient.control.schema.shape import Shape, say

MOST: Final = 20
"""Problems of an object that are named."""


def problems(error: ValidationError, shape: type[Shape]) -> Iterator[Problem]:
    """One problem for each field that is wrong, as far as anyone would read."""
    told: set[str] = set()
    for details in error.errors():
        path = _path(details)
        if path in told:  # A union complains once for each of its members.
            continue
        if len(told) == MOST:
            yield Problem("", f"has more than {MOST} faults; mend these first")
            return
        told.add(path)
        yield Problem(path, _text(details, shape), _reason(details))


def _reason(details: ErrorDetails) -> Reason:
    match details["type"]:
        case "missing":
            return Reason.MISSING
        case "extra_forbidden":
            return Reason.UNKNOWN
        case "wrong_at":
            return Reason(details["ctx"]["reason"])
        case "wrong" | "literal_error":
            return Reason.VALUE
        case kind:
            return Reason.TYPE if kind.endswith(("_type", "_parsing")) else Reason.VALUE


def _path(details: ErrorDetails) -> str:
    path = ""
    for part in details["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _is_field(part):
            path += f".{part}" if path else part
    if details["type"] == "wrong_at":
        field = details["ctx"]["field"]
        path += f".{field}" if path and not field.startswith("[") else field
    return path


def _is_field(part: str) -> bool:
    """Members of a union are named in the location as well: ``int``, ``literal['']``, ``function-after[...]``."""
    return part not in {"int", "str", "[key]"} and not part.startswith(
        ("function-", "literal[", "constrained-")
    )


def _text(details: ErrorDetails, shape: type[Shape]) -> str:
    value = details["input"]
    match details["type"]:
        case "wrong" | "wrong_at":
            return str(details["msg"])
        case "missing":
            return "is missing"
        case "extra_forbidden":
            known = _fields_at(shape, details["loc"][:-1])
            close = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
            return (
                f"is unknown; did you mean {close[0]}?"
                if close
                else f"is unknown; known are {', '.join(known)}"
            )
        case "string_type":
            return f"is {say(value)}; write it as a string, in quotes"
        case "literal_error":
            return f"is {say(value)}; it is {details['ctx']['expected']}".replace("'", "")
        case "int_type" | "int_parsing":
            return f"is {say(value)}; it is a whole number, without quotes"
        case "string_too_long":
            return f"has {len(value)} characters; the most is {details['ctx']['max_length']}"
        case "string_too_short":
            return "is empty; write something, or leave it out"
        case "float_type" | "float_parsing":
            return f"is {say(value)}; it is a number, without quotes"
        case "string_unicode":
            return "has half a character in it; write it in UTF-8"
        case "bool_type":
            return f"is {say(value)}; it is true or false"
        case "tuple_type" | "list_type":
            return f"is {say(value)}; it is a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"is {say(value)}; it is a mapping of names to values"
        case _:
            return f"is {say(value)}; {details['msg'][:1].lower()}{details['msg'][1:]}"


def _fields_at(shape: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The fields that a model has where an unknown one was found."""
    is_key = False
    for part in location:
        if is_key:
            is_key = False
        elif isinstance(part, str) and _is_field(part):
            by_alias = {field.alias or name: field for name, field in shape.model_fields.items()}
            if part not in by_alias:
                return []
            inner = _model_in(by_alias[part].annotation)
            if inner is None:
                return []
            shape, is_key = inner, _is_mapping(by_alias[part].annotation)
    return [field.alias or name for name, field in shape.model_fields.items()]


def _is_mapping(annotation: Any) -> bool:  # noqa: ANN401
    return get_origin(annotation) is dict or any(_is_mapping(inner) for inner in get_args(annotation))


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
