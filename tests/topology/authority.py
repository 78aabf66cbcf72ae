"""The root of a mesh, by the files of its control plane."""

from __future__ import annotations

from pathlib import Path

from ambient.core.pki.issue import Authority


def root_of(state: Path) -> Authority:
    """The one root of a control plane with this state folder."""
    [folder] = (state / "roots").iterdir()
    return Authority.from_pem((folder / "root-key.pem").read_bytes(), (folder / "root-cert.pem").read_bytes())


def issuer_of(state: Path) -> Authority:
    """Who signs leaves below that root."""
    [file] = (state / "roots").glob("*/issuer.pem")
    return Authority.from_pem(file.read_bytes(), file.read_bytes())
