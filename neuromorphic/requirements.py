"""Requirements of the project, from its own metadata, and the commands that install missing packages."""

from __future__ import annotations

import importlib.metadata as metadata
from collections import Counter
from contextlib import suppress

from packaging.requirements import Requirement

from neuromorphic.errors import PackagesMissingError

INSTALL_LAVA = "python -m neuromorphic.doctor --install lava"
ARCHIVED = ("lava-nc==0.10.0", "lava-dl==0.6.0")
"""The last releases of an archived project, which no extra may ask for (:mod:`neuromorphic.lava.install`)."""
NAMED = 3
"""Largest number of missing packages that an error names."""


def declared() -> dict[str, tuple[Requirement, str]]:
    """Requirement of each package, and the extra that needs it ("" for the base); empty if gshn is not installed.

    If several extras need a package, it is the one with the fewest packages: larger ones, such as ``all``, include it.
    """
    out = {Requirement(line).name: (Requirement(line), "lava") for line in ARCHIVED}
    with suppress(metadata.PackageNotFoundError):
        extras = ["", *(metadata.metadata("gshn").get_all("Provides-Extra") or [])]
        asked: list[tuple[Requirement, list[str]]] = [
            (
                requirement,
                [name for name in extras if requirement.marker is None or requirement.marker.evaluate({"extra": name})],
            )
            for requirement in map(Requirement, metadata.requires("gshn") or [])
        ]
        sizes = Counter(name for _, asking in asked for name in asking)
        for requirement, asking in sorted(asked, key=lambda own: min(map(sizes.__getitem__, own[1]), default=0)):
            if asking:
                out.setdefault(
                    requirement.name, (requirement, "" if "" in asking else min(asking, key=sizes.__getitem__))
                )
    return out


def asked_by(extra: str) -> list[Requirement]:
    """What an extra asks for, without the extra's marker."""
    requirements = [Requirement(str(requirement)) for requirement, asking in declared().values() if asking == extra]
    for requirement in requirements:
        requirement.marker = None
    return requirements


def mend(extra: str) -> str:
    """The command that installs what an extra, or with "" the project itself, asks for."""
    return INSTALL_LAVA if extra == "lava" else f"pip install 'gshn[{extra}]'" if extra else "pip install gshn"


def installed(name: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def require_extra(extra: str) -> None:
    """Check, without importing them, that the packages of an extra are installed.

    Raises:
        PackagesMissingError: some are not; the message says what to install.
    """
    missing = [requirement.name for requirement in asked_by(extra) if installed(requirement.name) is None]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        names = ", ".join(missing[:NAMED])
        raise PackagesMissingError(f"this needs packages that are not installed ({names}{more}): {mend(extra)}")
