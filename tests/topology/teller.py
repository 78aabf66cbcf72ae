"""What a program of the data plane tells of itself: its admin endpoint and its access log."""

from __future__ import annotations

import http.client
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topology.namespace import entered
from topology.process import PATIENCE, Process, until

READY_SECONDS = 30.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metrics page."""

    name: str
    labels: Mapping[str, str]
    value: float


class Teller(ABC):
    """Asks a program, from inside the namespace that it runs in."""

    admin: tuple[str, int]
    access_log: Path

    @property
    @abstractmethod
    def netns(self) -> Path: ...

    @property
    @abstractmethod
    def programs(self) -> Sequence[Process]:
        """That should run while something is waited for."""

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """A page of the admin endpoint."""
        with entered(self.netns):
            connection = http.client.HTTPConnection(*self.admin, timeout=10 * PATIENCE)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (ConnectionError, http.client.BadStatusLine) as error:
                return 0, str(error).encode()
            finally:
                connection.close()

    def get_json(self, path: str) -> Any:
        status, body = self.get(path)
        return json.loads(body) if status == 200 else []

    def dump(self) -> dict[str, Any]:
        status, body = self.get("/config_dump")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def wait_for_dump(self, part: str, wanted: Callable[[dict[str, Any]], bool], what: str) -> None:
        self.wait(lambda: any(wanted(one) for one in self.dump()[part]), what)

    def samples(self) -> list[Sample]:
        status, body = self.get("/metrics")
        if status != 200:
            return []
        matches = (_SAMPLE.match(line) for line in body.decode().splitlines())
        return [
            Sample(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3]))
            for match in matches
            if match is not None
        ]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def wait_for_metric(self, value: float, name: str, **labels: str) -> None:
        self.wait(lambda: self.metric(name, **labels) >= value, f"{name}{labels} to reach {value:g}")

    def access_lines(self, **fields: object) -> list[dict[str, Any]]:
        """Lines of the access log with these fields; a dot of a field's name is written as two underscores."""
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        if not self.access_log.exists():
            return []
        whole = self.access_log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]

    def wait_for_access(self, **fields: object) -> dict[str, Any]:
        self.wait(lambda: self.access_lines(**fields), f"an access-log line with {fields}")
        return self.access_lines(**fields)[-1]

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; what its processes said is part of the error."""
        deadline = time.monotonic() + READY_SECONDS
        for process in self.programs:
            assert process.running, f"{process.name} ended: {process.tail()}"
        try:
            until(condition, deadline - time.monotonic(), what)
        except AssertionError as error:
            tails = [process.tail() for process in self.programs]
            raise AssertionError(f"{error}\n" + "\n".join(tails)) from None
