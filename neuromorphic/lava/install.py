"""Install Lava, whose declared requirements pip refuses: ``python -m neuromorphic.doctor --install lava``.

lava-nc 0.10.0 and lava-dl 0.6.0 are the last releases of an archived project. They declare Python < 3.11, numpy < 2
and, lava-dl, torch < 2.4, and need none of it (docs/lava.md). So they are installed without what they declare, after
what they do need, which is the extra ``lava`` of this project.
"""

from __future__ import annotations

import importlib
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec

from neuromorphic.errors import LavaMissingError
from neuromorphic.requirements import ARCHIVED, asked_by


def pip() -> list[str]:
    """The command that runs pip for this interpreter: its own pip, or uv's if its environment has none.

    Raises:
        LavaMissingError: there is neither; the message says what to do.
    """
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (uv := shutil.which("uv")) is not None:
        return [uv, "tool", "run", "pip", "--python", sys.executable]
    raise LavaMissingError("pip is not installed in this environment: run `python -m ensurepip` first")


def install_lava() -> None:
    """Install what Lava needs, then Lava, into the environment of this interpreter. Pip prints to the terminal.

    Raises:
        LavaMissingError: there is no pip, or it failed; the message has its command and its status.
    """
    command = [*pip(), "install"]
    needs = [str(requirement) for requirement in asked_by("lava") if str(requirement) not in ARCHIVED]
    for arguments in (needs, ["--no-deps", "--ignore-requires-python", *ARCHIVED]):
        status = subprocess.run([*command, *arguments], check=False).returncode
        if status:
            call = shlex.join([*command, *arguments])
            raise LavaMissingError(f"Lava was not installed: this ended with status {status}: {call}")
    importlib.invalidate_caches()
