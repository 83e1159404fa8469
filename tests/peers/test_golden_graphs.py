"""Golden graphs on every peer, each in its environment, and on our own back ends; what is told of it is what is so.

What is measured is left in ``.venv-peers/conformance-NAME.json``; ``python tests/peers/pages.py`` makes
docs/results/conformance.json of it, which this test holds it to, and the tables of docs/conformance.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from cases import PEERS
from pages import COMMITTED, OWN, measured_file

from neuromorphic.execution.c_compiler import compiler

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("name", [*OWN, *PEERS])
def test_golden_graphs(name: str) -> None:
    python = Path(sys.executable)
    if name in PEERS:
        python = ROOT / ".venv-peers" / name / "bin" / "python"
        if not python.exists():
            pytest.skip(f"{python} is not there: make test-peers")
    elif name == "lava" and find_spec("lava") is None:
        pytest.skip("lava-nc is not installed: doctor --install lava")
    elif name == "c" and compiler() is None:
        pytest.skip("there is no C compiler: install gcc or clang")
    out = measured_file(name)
    command = [python, "-W", "ignore", "-m", "neuromorphic.conformance", *OWN.get(name, ["--simulator", name])]
    # Some importers go over edges in the order of a set.
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*map(str, command), "--json", str(out)], env=variables, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    report = json.loads(out.read_text())
    verdicts = {row["name"]: row["verdict"] for row in report["verdicts"]}
    if name in OWN and name != "fixed":
        assert set(verdicts.values()) == {"agrees"}
        return
    told = json.loads(COMMITTED.read_text())[name]["verdicts"]
    changed = {graph: (told.get(graph), verdict) for graph, verdict in verdicts.items() if told.get(graph) != verdict}
    assert not changed, f"(before, now) of {changed}; python tests/peers/pages.py tells of it"
