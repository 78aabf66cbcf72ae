"""Writes to a control plane's store and says what is kept, until it is killed: ``writer.py FOLDER FROM``.

The first line is what was found: the number of each object. Each request sets two objects to the next number, and is a
line when it is acknowledged.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from ambient.control.catalog import Catalog
from ambient.control.configuration import Configuration
from ambient.control.index import Index, Settings
from ambient.control.store import Store
from ambient.rpc.configuration import Manifest


def text(name: str, number: int) -> str:
    metadata = {"name": name, "labels": {"number": str(number)}, "annotations": {"long": "x" * 5000}}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def main(folder: Path, first: int) -> None:
    store = Store.open(folder, "cluster.local")
    made = Configuration(
        Catalog(("ambient-system",)),
        store.objects,
        Index(Settings()),
        lambda _: None,
        lambda: datetime.now(UTC),
    )
    made.restore()
    labels = [standing.document["metadata"]["labels"] for standing in made._catalog.standing.values()]
    say(json.dumps([int(of["number"]) for of in labels]))
    for number in range(first, first + 10_000):
        both = "\n---\n".join(text(name, number) for name in ("a", "b"))
        assert made.apply((Manifest("writer", both.encode()),), dry_run=False).applied
        say(str(number))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
