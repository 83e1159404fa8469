"""The objects of ``neuromorphic``: docs/api.md as it is written, and what it does not show."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import random_graph
from scenarios import SCENARIOS

import neuromorphic as nm
from neuromorphic.execution import reference
from neuromorphic.golden import simulators
from neuromorphic.graph import flatten
from neuromorphic.lava.folder import load
from neuromorphic.nir_file import write_nir

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/api.md").read_text().split("\n## neuromorphic\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
SCENARIO = SCENARIOS["random_0"]


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in EXAMPLES:
        needed = {"# needs Lava": "lava", "# needs PyTorch": "torch"}.get(code.partition("\n")[0])
        if needed is None or find_spec(needed) is not None:
            exec(compile(code, "docs/api.md", "exec"), names)
    shown = re.search(r"^net +# (<SpikingNetwork.*)$", SECTION, re.MULTILINE)
    assert shown is not None and repr(names["net"]) == shown[1]
    assert (tmp_path / "out.npz").is_file() and (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    if find_spec("lava") is not None:
        made = {"model.nir", "input.npz", "spikes.npz", "report.json", "program"}
        assert {path.name for path in (tmp_path / "on_lava").iterdir()} == made
        assert json.loads((tmp_path / "on_lava/report.json").read_text())["agreement"] == names["exported"].agreement
        network = load(tmp_path / "on_lava/program")["network"]
        assert [p.name for p in network.populations] == ["lif", "output"]


def test_every_public_name_and_method_is_on_the_page() -> None:
    methods = [name for name in vars(nm.SpikingNetwork) if not name.startswith("_")]
    shown = set(methods) - {"source", "nir_graph", "table"}
    for name in (*nm.__all__, *(f"net.{method}" for method in shown)):
        assert re.search(rf"{re.escape(name)}\b", SECTION), name


def test_the_older_name_of_numpy_is_taken_wherever_a_back_end_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, x = nm.load(SCENARIO.graph), SCENARIO.x
    old: Any = "reference"
    for precision in ("float", "fixed"):
        run = net.run(x, old, precision)
        assert run.backend == "numpy" and run.report()["backend"] == "numpy"
        verification = net.verify(x, old, precision, backend=old, backend_precision=precision)
        assert verification and {verification.verified.backend, verification.expected.backend} == {"numpy"}
    assert net.session(old).backend == "numpy" and net.profile(x, old).report() == net.profile(x, "numpy").report()
    assert simulators.find_simulator(old).__qualname__ == simulators.find_simulator("numpy").__qualname__
    monkeypatch.chdir(tmp_path)
    net.save("model.nir")
    np.savez("in.npz", input=x)
    for module, more in (
        ("run", "--backend reference --out out.npz"),
        ("verify", "--against reference --backend reference"),
    ):
        monkeypatch.setattr("sys.argv", [module, "--nir", "model.nir", "--input", "in.npz", *more.split()])
        importlib.import_module(f"neuromorphic.{module}").main()
    assert "reference (" not in capsys.readouterr().out


def test_a_run_has_the_references_signals() -> None:
    nir_graph, x = next((g, x) for g, x in map(random_graph, range(50)) if len(x) == 2)
    expected = reference.simulate(flatten(nir_graph), x)
    run = nm.load(nir_graph).run(x, potentials=True)
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(run.outputs[name], values)
    alone = nm.load(nir_graph).run({name: values[0].tolist() for name, values in x.items()})
    for name, spikes in expected.spikes.items():
        np.testing.assert_array_equal(run.spikes[name], spikes)
        np.testing.assert_array_equal(alone.spikes[name], spikes[0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"in": SCENARIO.x}, "inputs in are given; the network's are input"),
        (SCENARIO.x[:, :2], r"input 'input' must have shape \(T, 8\) or \(B, T, 8\), got \(24, 2\)"),
        (SCENARIO.x[:0], "input 'input' has no step to run"),
        (SCENARIO.x * np.nan, r"input 'input' is NaN at \[0, 0\]"),
        ([[1.0], [2.0, 3.0]], "a list that NumPy makes no array of"),
        (None, "input 'input' holds object; give real numbers"),
    ],
)
def test_what_is_no_input_is_one_line(x: object, message: str) -> None:
    with pytest.raises(nm.UserError, match=message) as error:
        nm.load(SCENARIO.graph).run(x)
    assert "\n" not in str(error.value)


def test_a_profile_prices_what_was_counted() -> None:
    profile = nm.load(SCENARIO.graph).profile(np.stack([SCENARIO.x] * 2))
    counts, operations = profile.layers, profile.operations
    # Of one of two samples that are alike: 23.6 pJ an operation by a spike, 52 or 81 pJ an update, 1.7 pJ a spike.
    spikes = sum(int(own.sum()) for own in profile.run.spikes.values()) / 2
    macs, acs = (sum(getattr(count, f"effective_{key}") for count in counts.values()) / 2 for key in ("macs", "acs"))
    updates = 24 * 16
    low = 1e-12 * (23.6 * acs + 52 * updates + 29 * spikes + 1.7 * spikes + 4.6 * macs)
    assert profile.joules["loihi1"][0] == pytest.approx(low)
    assert operations["output"].spike == operations["output"].firing == 0
    row = next(row for row in profile.report()["layers"] if row["name"] == "lif_1")
    assert sum(row["spikes_per_step"]) == row["spikes"] == int(profile.run.spikes["lif_1"].sum()) > 0


def test_results_show_themselves_in_one_line_and_in_notebooks() -> None:
    net = nm.load(SCENARIO.graph)
    run = net.run(SCENARIO.x, precision="fixed")
    assert "as float" not in repr(run)  # it did not run the reference to be shown
    results = [net, run, net.verify(SCENARIO.x, "numpy", "fixed"), net.check(), net.profile(run)]
    for result in results:
        assert re.fullmatch(r"<.*NIR graph.*>", repr(result))
        assert "lif_0" in result._repr_html_() or isinstance(result, nm.Verification)
    assert run.agreement == 1.0 and "100.00 % as float" in repr(run)


# A process that has none of what is heavy.
LIGHT = """
import sys

forbidden = ("torch", "transformers", "lava", "psutil", "gshn", "snntorch", "matplotlib")
sys.modules |= dict.fromkeys(forbidden)  # to import one of them is an ImportError from here on
import neuromorphic as nm
assert not {"scipy", "h5py", "nir", "rich", "omegaconf"} & set(sys.modules), "the import is not light"
net = nm.load(sys.argv[1])
run = net.run(sys.argv[2])
assert run.output.any() and net.run(sys.argv[2], precision="fixed").agreement == 1
assert net.verify(sys.argv[2], "numpy", "fixed") and net.check().fits
assert net.profile(run).joules["loihi1"][0] > 0
for backend in ("torch", "lava"):
    try:
        net.run(sys.argv[2], backend)
    except nm.UserError as error:
        print(error)
from neuromorphic import check, doctor, export, profile, run, verify
"""


def test_it_works_without_torch_and_lava(tmp_path: Path) -> None:
    write_nir(tmp_path / "model.nir", SCENARIO.graph)
    np.savez(tmp_path / "in.npz", input=SCENARIO.x)
    arguments = [sys.executable, "-c", LIGHT, str(tmp_path / "model.nir"), str(tmp_path / "in.npz")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    torch, lava = done.stdout.splitlines()
    assert "PyTorch" in torch and "pip install torch" in torch
    assert "Lava" in lava and "install" in lava
