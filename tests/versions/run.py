"""`make test-versions`: both packages at the ends of what they take, each end in an environment of its own.

Each has the project's wheel and runs `smoke.py`. uv finds the interpreters; one that is not there is told. For
PyTorch's build for CPUs give `UV_TORCH_BACKEND=cpu`, which uv reads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-versions"


@dataclass(frozen=True)
class End:
    """An environment.

    Attributes:
        name: And its folder's.
        python: Version of the interpreter.
        extras: Of the project.
        requirements: Beside what it asks for.
        resolution: How uv chooses among versions: ``lowest-direct`` takes the oldest of what pyproject.toml names.
    """

    name: str
    python: str
    extras: tuple[str, ...] = ("train", "lava")
    requirements: tuple[str, ...] = ()
    resolution: str = "highest"


ENDS = (
    End("oldest", "3.11", resolution="lowest-direct"),
    End("torch-2.11", "3.12", requirements=("torch==2.11.*", "numpy==2.0.*")),
    End("newest", "3.13"),
    End("light", "3.13", extras=()),
    End("newest-3.14", "3.14"),
)


# Bytecode only of what is imported, but of that: PyTorch is compiled once, and not by each command.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | {
    "UV_COMPILE_BYTECODE": "0",
    "PIP_QUIET": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": "",
}


def call(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], text=True, check=False, env=ENVIRONMENT, **options)


def measure(end: End, uv: str, wheel: Path) -> str:
    """Make the environment and run the smoke test in it: its row, or the line that says what failed."""
    folder = FOLDER / end.name
    python = folder / "bin/python"
    if not python.exists() and call(uv, "venv", "--quiet", "--seed", "--python", end.python, folder).returncode:
        return f"{end.name}: there is no Python {end.python} here"
    install = (uv, "pip", "install", "--quiet", "--python", python)
    project = ("--requirement", ROOT / "pyproject.toml", *(part for extra in end.extras for part in ("--extra", extra)))
    # Not the wheel with its extras: lowest-direct is about what is named here, which would be the wheel alone.
    packages = call(*install, "--resolution", end.resolution, *project, *end.requirements).returncode
    if packages or call(*install, "--no-deps", "--reinstall", wheel).returncode:
        return f"{end.name}: cannot be installed"
    if call(python, "-m", "neuromorphic.doctor", "--install", "lava", cwd=folder).returncode:
        return f"{end.name}: Lava cannot be installed"
    smoke = Path(__file__).with_name("smoke.py")
    done = call(python, smoke, cwd=folder, stdout=subprocess.PIPE)
    return f"{end.name}: failed" if done.returncode else f"| {end.name} {done.stdout.strip()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", default="uv", help="the command")
    parser.add_argument("ends", nargs="*", metavar="END", help=f"of {', '.join(end.name for end in ENDS)}; all")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if call(arguments.uv, "build", "--quiet", "--wheel", "--out-dir", FOLDER, ROOT).returncode:
        raise SystemExit("the wheel cannot be built")
    (wheel,) = FOLDER.glob("gshn-*.whl")
    rows = []
    for end in ENDS:
        if not arguments.ends or end.name in arguments.ends:
            rows.append(measure(end, arguments.uv, wheel))
            print(rows[-1], flush=True)
    sys.exit(any(not row.startswith("|") for row in rows))


if __name__ == "__main__":
    main()
