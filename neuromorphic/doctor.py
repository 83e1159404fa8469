"""``python -m neuromorphic.doctor``: what is installed, what is missing for which command, and how to install it.

``--install lava`` installs Lava, whose declared requirements pip refuses. The exit status is 0 if everything that is
installed works, with or without extras, and 1 if something is wrong.
"""

from __future__ import annotations

import importlib.metadata as metadata
import json
import multiprocessing
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.table import Table

from neuromorphic.cli import CommandParser, run_command
from neuromorphic.errors import LavaRunError
from neuromorphic.files import check_destination, write_atomically
from neuromorphic.lava.install import install_lava
from neuromorphic.lava.target import missing_for_loihi2
from neuromorphic.plugins import registered
from neuromorphic.requirements import declared, installed, mend

EXAMPLES = """
examples:
  python -m neuromorphic.doctor --probe
  python -m neuromorphic.doctor --install lava
"""
DESCRIPTORS = 512
"""Number of file descriptors that is more than enough for a Lava network of a hundred processes."""


@dataclass(frozen=True)
class Finding:
    """A requirement of a command.

    Attributes:
        what: Its name, and the accepted versions.
        found: What was found; empty if it is missing.
        ok: Whether the requirement is met.
        mend: A command or an advice that meets it; empty if it is met.
        optional: Whether it may be missing.
    """

    what: str
    found: str
    ok: bool
    mend: str = ""
    optional: bool = False


NEEDS: Mapping[str, tuple[str, ...]] = {
    "neuromorphic.run, verify, check": ("", "nir", "h5py", "numpy", "scipy"),
    "... --backend torch": ("train", "torch"),
    "... --backend lava, export --to lava": ("lava", "lava-nc", "asteval", "networkx", "psutil"),
}
"""Per command the extra that its packages stand in, empty for none, and the packages."""


def package(name: str, extra: str, requirements: Mapping[str, tuple[Requirement, str]]) -> Finding:
    """Find whether a package is installed in an accepted version. Packages of an extra may be missing."""
    requirement = requirements[name][0] if name in requirements else Requirement(name)
    what = f"{name} {requirement.specifier}".strip()
    version = installed(name)
    if version is None:
        return Finding(what, "", False, mend(extra), optional=bool(extra))
    ok = requirement.specifier.contains(version, prereleases=True)
    return Finding(what, version, ok, "" if ok else mend(extra))


def python() -> Finding:
    """Python's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = SpecifierSet(metadata.metadata("gshn")["Requires-Python"])
    ok = wanted.contains(found, prereleases=True)
    return Finding(f"Python {wanted}", found, ok, "" if ok else f"make an environment with Python {wanted}")


def forking() -> Finding:
    """Find whether processes can be forked, as Lava does."""
    ok = "fork" in multiprocessing.get_all_start_methods()
    return Finding("processes that fork", "yes" if ok else "", ok, "" if ok else "run Lava on Linux")


def descriptors() -> Finding:
    """Find how many file descriptors a process may have."""
    try:
        import resource
    except ImportError:
        return Finding(f"{DESCRIPTORS} file descriptors", "unknown", True)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = limit in (-1, resource.RLIM_INFINITY) or limit >= DESCRIPTORS
    return Finding(f"{DESCRIPTORS} file descriptors", str(limit), ok, "" if ok else f"ulimit -n {DESCRIPTORS}")


def loihi() -> Finding:
    """Loihi 2 and its compiler."""
    missing = missing_for_loihi2()
    return Finding("Loihi 2", "" if missing else "yes", missing is None, missing or "", optional=True)


def probe() -> Finding:
    """A network of three neurons on Lava."""
    what = "three neurons on Lava give the reference's spikes"
    try:
        import nir
        import numpy as np

        from neuromorphic.backends import simulate
        from neuromorphic.graph import flatten

        shape, one = np.array([3]), np.ones(3)
        nodes = {"input": nir.Input(shape), "lif": nir.LIF(2e-4 * one, one, 0 * one, one), "output": nir.Output(shape)}
        graph = flatten(nir.NIRGraph(nodes, [("input", "lif"), ("lif", "output")]), dt=1e-4)
        x = {"input": np.tile([0.5, 1.5, 3.0], (1, 8, 1))}
        ours, expected = (simulate(graph, x, backend).record for backend in ("lava", "numpy"))
        same = bool((ours.spikes["lif"] == expected.spikes["lif"]).all())
        return Finding(what, "yes" if same else "other spikes", same, "" if same else "please report this")
    except (ImportError, LavaRunError) as error:
        return Finding(what, "", False, str(error))


def examine(run_probe: bool) -> dict[str, list[Finding]]:
    """All findings, by command."""
    requirements = declared()
    findings = {"all commands": [python()]}
    tools = [point.load() for point in registered()]
    needs = {command: own for source in (NEEDS, *(tool.NEEDS for tool in tools)) for command, own in source.items()}
    for command, (extra, *names) in needs.items():
        findings[command] = [package(name, extra, requirements) for name in names]
    lava: list[Callable[[], Finding]] = [forking, descriptors]
    findings["... --backend lava, export --to lava"] += [check() for check in lava + ([probe] if run_probe else [])]
    for tool in tools:
        findings |= tool.findings()
    findings["--target loihi2"] = [loihi()]
    return findings


def main() -> None:
    """Examine, print, exit."""
    parser = CommandParser(prog="python -m neuromorphic.doctor", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--probe", action="store_true", help="also run three neurons on Lava (2 s)")
    parser.add_argument("--install", choices=["lava"], help="install Lava with pip, and do nothing else")
    parser.add_argument("--json", type=Path, help="write the findings here too")
    arguments = parser.parse_args()
    if arguments.json is not None:
        check_destination(arguments.json)
    if arguments.install:
        install_lava()
        print("Lava is installed; `python -m neuromorphic.doctor --probe` runs three neurons on it.")
        return
    findings = examine(arguments.probe)
    table = Table("for", "needs", "found", "", "mend")
    for command, own in findings.items():
        told = ""
        for number, finding in enumerate(own):
            sign = "ok" if finding.ok else "-" if finding.optional else "missing" if not finding.found else "wrong"
            again = finding.mend == told
            table.add_row("" if number else command, finding.what, finding.found, sign, "" if again else finding.mend)
            told = finding.mend or told
        table.add_section()
    Console(markup=False, emoji=False).print(table)
    if arguments.json is not None:
        content = {command: [asdict(finding) for finding in own] for command, own in findings.items()}
        write_atomically(arguments.json, json.dumps(content, indent=2) + "\n")
        print(f"{arguments.json}: these findings")
    if any(not finding.ok and not finding.optional for own in findings.values() for finding in own):
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
