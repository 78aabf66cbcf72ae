"""Boot Debian's kernels in virtual machines without hardware help, and run in each what the matrix names.

``./dev vm-test [--shell] [--only SCENARIO] [KERNEL …]``; all kernels when none is named. The exit code is 0 only if every
scenario of every kernel went well and no kernel complained. What was found is in ``.cache/vm/junit.xml``, consoles are beside
it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import image
import kernels
from matrix import CHECK, KERNELS, Kernel, Scenario

REPOSITORY: Final = Path(__file__).resolve().parents[1]
CACHE: Final = REPOSITORY / ".cache" / "vm"
GOLDEN: Final = Path(__file__).with_name("golden")
REWRITE: Final = "REWRITE_GOLDEN"
MEMORY_MB: Final = 3072
BOOT_SECONDS: Final = 120
KERNEL_ARGUMENTS: Final = "console=ttyS0 loglevel=5 panic=-1"
"""A WARNING is of level 4, and levels below the given one come to the console."""
SPLAT: Final = re.compile(r"\b(BUG:|WARNING:|Oops:|Kernel panic|general protection)")
LAST_LINES: Final = 60


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the report."""

    name: str
    seconds: float
    failure: str = ""
    skipped: str = ""


def main(words: list[str]) -> int:
    arguments = _arguments(words)
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = Path(sys.prefix)
    shared = image.common(environment, CACHE)
    suites = ET.Element("testsuites")
    for version in arguments.kernels or KERNELS:
        kernel = _reduced(KERNELS[version], arguments.only)
        unpacked = kernels.unpacked(kernel, CACHE)
        initramfs = image.complete(shared, kernel, unpacked, environment, shell=arguments.shell)
        if arguments.shell:
            return subprocess.run(_machine(kernel, unpacked, initramfs, "mon:stdio"), check=False).returncode
        started = time.monotonic()
        cases = _boot(kernel, unpacked, initramfs)
        initramfs.unlink()
        suites.append(_suite(kernel, cases, time.monotonic() - started))
        _say(kernels.release(unpacked), cases, time.monotonic() - started)
    ET.ElementTree(suites).write(CACHE / "junit.xml", encoding="unicode")
    failed = [case for case in suites.iter("testcase") if case.find("failure") is not None]
    passed = len(list(suites.iter("testcase"))) - len(failed) - len(list(suites.iter("skipped")))
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev vm-test", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "kernels", nargs="*", metavar="KERNEL", help=f"of {', '.join(KERNELS)}; none: all of them"
    )
    parser.add_argument("--shell", action="store_true", help="a shell in the machine, and nothing is run")
    names = sorted({scenario.name for kernel in KERNELS.values() for scenario in kernel.scenarios})
    parser.add_argument(
        "--only", action="append", choices=names, default=[], help="this scenario, not all; may be repeated"
    )
    arguments = parser.parse_args(words)
    for unknown in set(arguments.kernels) - KERNELS.keys():
        parser.error(f"kernel {unknown} is not in vm-tests/matrix.py; give one of {', '.join(KERNELS)}")
    for version in arguments.kernels or KERNELS:
        if not _reduced(KERNELS[version], arguments.only).scenarios:
            parser.error(f"kernel {version} has no {' or '.join(arguments.only)}; name kernels that have one")
    if arguments.shell and len(arguments.kernels) != 1:
        parser.error("--shell wants one kernel")
    return arguments


def _reduced(kernel: Kernel, only: list[str]) -> Kernel:
    if not only:
        return kernel
    return replace(kernel, scenarios=tuple(one for one in kernel.scenarios if one.name in only))


def _machine(kernel: Kernel, unpacked: Path, initramfs: Path, *serials: str) -> list[str | Path]:
    """The first serial line is the console."""
    lines = [word for serial in serials for word in ("-serial", serial)]
    threads, processor = ("single", "max") if kernel.needs_cmpxchg16b else ("multi", "max,cx16=off")
    return [
        "qemu-system-x86_64", "-accel", f"tcg,thread={threads}", "-cpu", processor, "-smp", "2", "-m", str(MEMORY_MB),
        "-kernel", kernels.image(unpacked), "-initrd", initramfs, "-append", KERNEL_ARGUMENTS,
        "-no-reboot", "-nic", "none", "-display", "none", "-monitor", "none", *lines,
    ]  # fmt: skip


def _boot(kernel: Kernel, unpacked: Path, initramfs: Path) -> list[Case]:
    """What became of each scenario; the last case is what the kernel itself said."""
    console, results = CACHE / f"console-{kernel.version}.log", CACHE / f"results-{kernel.version}.jsonl"
    results.unlink(missing_ok=True)
    command = _machine(kernel, unpacked, initramfs, f"file:{console}", f"file:{results}")
    seconds = BOOT_SECONDS + sum(scenario.seconds for scenario in kernel.scenarios)
    why_ended = ""
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=seconds, check=True)
    except subprocess.TimeoutExpired:
        why_ended = f"the machine was ended after {seconds:.0f} s"
    except subprocess.CalledProcessError as error:
        why_ended = f"qemu ended with {error.returncode}"
    said = console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""
    told = _told(results)
    if not why_ended and None not in told:
        why_ended = "the machine stopped before it had told of everything"
    cases = [
        case
        for scenario in kernel.scenarios
        for case in _cases(kernel, scenario, told.get(scenario.name), kernels.release(unpacked))
    ]
    splat = SPLAT.search(said)
    if splat is not None:
        start = said.rfind("\n", 0, splat.start()) + 1
        cases.append(Case("kernel log", 0, f"the kernel complained:\n{said[start : start + 3000]}"))
    elif why_ended:
        last = "\n".join(said.splitlines()[-LAST_LINES:])
        cases.append(Case("kernel log", 0, f"{why_ended}; the console's last lines:\n{last}"))
    else:
        cases.append(Case("kernel log", 0))
    return cases


def _told(results: Path) -> Mapping[str | None, Mapping[str, Any]]:
    """By scenario; None is there if the machine came to its end. A line that was cut off counts as not told."""
    told: dict[str | None, Mapping[str, Any]] = {}
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    for line in text.rpartition("\n")[0].splitlines():
        result = json.loads(line)
        told[result["scenario"]] = result
    return told


def _cases(
    kernel: Kernel, scenario: Scenario, result: Mapping[str, Any] | None, release: str
) -> Iterator[Case]:
    if result is None:
        yield Case(scenario.name, 0, "it was not come to, or did not end")
        return
    if result["junit"] is not None:
        yield from _of_pytest(scenario, result["junit"])
    failure = ""
    if result["code"] is None:
        failure = f"ended after {scenario.seconds:.0f} s"
    elif result["code"] != 0:
        failure = f"exit code {result['code']}"
    elif scenario is CHECK:
        failure = _differs_from_golden(
            f"check-{kernel.version}.txt", result["said"].replace(release, kernel.version)
        )
    if failure:
        failure += "\n" + result["said"][-6000:]
    if failure or not scenario.pytest:
        yield Case(scenario.name, result["seconds"], failure)


def _of_pytest(scenario: Scenario, junit: str) -> Iterator[Case]:
    for case in ET.fromstring(junit).iter("testcase"):
        found = {part.tag: part for part in case}
        failures = [found[tag] for tag in ("failure", "error") if tag in found]
        skipped = found.get("skipped")
        yield Case(
            f"{scenario.name}: {case.get('classname', '')}.{case.get('name', '')}",
            float(case.get("time", "0")),
            "\n".join(part.text or part.get("message") or part.tag for part in failures),
            "" if skipped is None else skipped.get("message") or "skipped",
        )


def _differs_from_golden(name: str, said: str) -> str:
    """What is wrong; with REWRITE_GOLDEN=1 in the environment, the file is written instead."""
    said = "\n".join(line.rstrip() for line in said.splitlines()).strip() + "\n"
    file = GOLDEN / name
    if os.environ.get(REWRITE):
        file.parent.mkdir(exist_ok=True)
        file.write_text(said, encoding="utf-8")
    if not file.exists():
        return f"{file} is missing; to write it: {REWRITE}=1 ./dev vm-test"
    if said != file.read_text(encoding="utf-8"):
        return f"{file} says otherwise; if that is meant: {REWRITE}=1 ./dev vm-test"
    return ""


def _suite(kernel: Kernel, cases: list[Case], seconds: float) -> ET.Element:
    suite = ET.Element(
        "testsuite", name=f"linux-{kernel.version}", time=f"{seconds:.1f}", tests=str(len(cases))
    )
    for case in cases:
        element = ET.SubElement(
            suite, "testcase", classname=suite.get("name", ""), name=case.name, time=f"{case.seconds:.1f}"
        )
        if case.failure:
            ET.SubElement(element, "failure").text = _printable(case.failure)
        if case.skipped:
            ET.SubElement(element, "skipped", message=_printable(case.skipped))
    return suite


def _printable(text: str) -> str:
    """Without the characters that no XML may have."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "�", text)


def _say(release: str, cases: list[Case], seconds: float) -> None:
    failed = [case for case in cases if case.failure]
    skipped = sum(1 for case in cases if case.skipped)
    print(
        f"Linux {release}: {len(cases) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped,"
        f" {seconds:.0f} s",
        flush=True,
    )
    for case in failed:
        print(f"  {case.name}: {case.failure}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
