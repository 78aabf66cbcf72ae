"""networking.istio.io."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ambient.control.schema.shape import Document, Ip, Labels, Name, PortNumber, Shape, between, say, wrong


def _locality(text: str) -> str:
    if len(text.split("/")) > 3:
        raise wrong(f"is {say(text)}; it is region/zone/subzone")
    return text


class WorkloadEntrySpec(Shape):
    """networking.istio.io WorkloadEntry."""

    address: Ip
    ports: dict[str, PortNumber] = Field(default={})
    labels: Labels = Field(default={})
    network: str = ""
    locality: Annotated[str, AfterValidator(_locality)] = ""
    weight: Annotated[int, AfterValidator(between(0, 2**32 - 1))] = 0
    service_account: Name | Literal[""] = ""


class WorkloadEntryDocument(Document):
    """networking.istio.io WorkloadEntry."""

    spec: WorkloadEntrySpec
