"""All benchmarks, each in a process of its own; rows as JSON, for docs/figures.py and docs/tables.py.

make bench
python -m benchmarks --only lif encoder --json FILE
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Row, show

MODULES = {
    "lif": ("benchmarks.lif", 11),
    "encoder": ("benchmarks.encoder", 7),
    "input": ("benchmarks.inputs", 60),
    "nir": ("benchmarks.nir_graph", 11),
    "lava": ("benchmarks.lava_images", 3),
}
"""Module and rounds of each."""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
"""glibc's: freed memory is kept and used again, for all subjects alike. By default a tensor of 32 MB or more is mapped
anew each time, and the faults of its pages cost more than what is measured."""


def main() -> None:
    """Run them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write all rows here")
    arguments = parser.parse_args()
    found: list[Row] = []
    for name in arguments.only:
        module, rounds = MODULES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.json"
            command = [sys.executable, "-m", module, "--rounds", str(rounds), "--json", str(path)]
            subprocess.run(command, check=True, env={**os.environ, **ALLOCATOR})
            found += json.loads(path.read_text())
    if len(arguments.only) > 1:
        show("all", found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
