"""``bpf/include`` and its mirrors in Python say the same."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from ambient.core.model.address import SocketAddress
from ambient.core.redirection import Role
from ambient.kernel import abi, compiler, loader, redirector
from ambient.kernel.reason import Reason

BPF = Path(__file__).parents[2] / "bpf"


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_every_struct_has_the_offsets_of_the_header(tmp_path: Path) -> None:
    lines, mirrored = [], {}
    for name, struct in abi.STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        mirrored[name] = ctypes.sizeof(struct)
        for field, *_ in struct._fields_:
            lines.append(
                f'printf("{name}.{field} %zu+%zu\\n", offsetof(struct {name}, {field}), '
                f"sizeof(((struct {name} *)0)->{field}));"
            )
            descriptor = getattr(struct, field)
            mirrored[f"{name}.{field}"] = f"{descriptor.offset}+{descriptor.size}"
    program = tmp_path / "offsets.c"
    program.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "abi.h"\nint main(void) {' + "\n".join(lines) + "}"
    )
    binary = tmp_path / "offsets"
    subprocess.run(["cc", "-Wall", "-Werror", f"-I{BPF}/include", "-o", binary, program], check=True)
    printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    compiled = dict(line.split(" ") for line in printed.splitlines())
    assert compiled == {name: str(value) for name, value in mirrored.items()}


def test_every_struct_of_the_header_is_mirrored() -> None:
    header = (BPF / "include" / "abi.h").read_text()
    assert set(re.findall(r"^struct (\w+) \{", header, re.MULTILINE)) - {"address"} == set(abi.STRUCTS)


def test_every_constant_of_the_header_is_mirrored() -> None:
    header = (BPF / "include" / "abi.h").read_text()
    constants = {
        name: eval(value) for name, value in re.findall(r"^#define (\w+) (.+)$", header, re.MULTILINE)
    }
    for name in ("MAX_PODS", "SLOTS_PER_POD", "DIRECTION_OUTBOUND", "DIRECTION_INBOUND"):
        assert getattr(abi, name) == constants[name]
    for name in ("POD_OUTBOUND", "POD_INBOUND", "POD_HBONE"):
        assert getattr(abi, name) == constants[name]
    flows = [name for name in constants if name.startswith("FLOW_")]
    assert {name: constants[name] for name in flows} == {name: getattr(abi, name) for name in flows}
    for role in Role:
        assert role.value == constants[f"PORT_{role.name}"]
        assert redirector.SLOTS[role] == constants[f"SLOT_{role.name}"]


def test_reasons_are_those_of_the_header_in_its_order() -> None:
    header = (BPF / "include" / "reason.h").read_text()
    body = re.sub(r"/\*.*?\*/", "", header[header.index("enum reason") :], flags=re.DOTALL)
    assert re.findall(r"^\t(\w+)", body, re.MULTILINE) == [
        *(reason.name for reason in sorted(Reason)),
        "REASONS",
    ]


def test_every_reason_is_counted_somewhere() -> None:
    text = "".join(path.read_text() for path in BPF.glob("*.c"))
    assert [reason.name for reason in Reason if not re.search(rf"\b{reason.name}\b", text)] == []


def test_every_file_is_part_of_what_is_compiled() -> None:
    assert {path.name for path in BPF.glob("*.c")} == {file for file, _, _ in compiler.PROGRAMS.values()}
    assert {f"include/{path.name}" for path in BPF.glob("include/*.h")} == set(compiler.HEADERS)
    assert set(compiler.PROGRAMS) == {
        *redirector.SOCKET_HOOKS, *redirector.CAPTURE_HOOK, *redirector.PROBER_HOOK, *redirector.PROXY_HOOK
    }  # fmt: skip
    assert loader.source_folder() == BPF


@pytest.mark.skipif(shutil.which("clang-format") is None, reason="needs clang-format")
def test_the_sources_are_formatted() -> None:
    files = [*BPF.glob("*.c"), *BPF.glob("include/*.h")]
    subprocess.run(["clang-format", "--dry-run", "-Werror", *files], check=True, cwd=BPF)


def test_files_are_short_and_licensed() -> None:
    for path in [*BPF.glob("*.c"), *BPF.glob("include/*.h")]:
        lines = path.read_text().splitlines()
        assert lines[0] == "// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)", path.name
        assert len(lines) < 200, path.name


@pytest.mark.parametrize("text", ["10.0.0.1:80", "[fd00::1]:65535", "0.0.0.0:0"])
def test_an_endpoint_survives_the_crossing(text: str) -> None:
    address = SocketAddress.parse(text)
    assert abi.Endpoint.unpack(abi.Endpoint.of(address).pack()).address() == address


def test_a_mapped_address_and_its_ipv4_are_one_key() -> None:
    assert bytes(abi.pack_ip(ip_address("10.0.0.1"))) == ip_address("::ffff:10.0.0.1").packed
