"""What has to work in every environment that `make test-versions` makes; prints a row of docs/environments.md.

`PYTHON tests/versions/smoke.py` wherever the project is installed. What the environment has no packages for is left
out, and the row says so; whatever fails ends it with a traceback. It imports nothing but what it tests.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nir
import numpy as np

TRAIN = ["--config", "smoke", "pretrain.steps=2", "finetune.steps=2", "data.pairs.train=32", "data.questions.train=16"]


def installed(name: str) -> str:
    """The version of a package, "" where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def recurrent() -> tuple[nir.NIRGraph, np.ndarray]:
    """A graph with a loop and two reset rules, and inputs of three samples: shape (3, 50, 10)."""
    random = np.random.default_rng(0)
    one = np.ones(20)
    lif = [nir.LIF(2e-3 * one, one, 0 * one, 0.3 * one, 0 * one, metadata={"reset": reset}) for reset in RESETS]
    nodes = {
        "input": nir.Input(np.array([10])),
        "in": nir.Affine(random.normal(size=(20, 10)), 0.1 * random.normal(size=20)),
        "first": lif[0],
        "loop": nir.Linear(0.3 * random.normal(size=(20, 20))),
        "on": nir.Linear(0.3 * random.normal(size=(20, 20))),
        "last": lif[1],
        "output": nir.Output(np.array([20])),
    }
    edges = [("input", "in"), ("in", "first"), ("first", "loop"), ("loop", "first")]
    edges += [("first", "on"), ("on", "last"), ("last", "output")]
    x = (random.random((3, 50, 10)) < 0.3).astype(float)
    return nir.NIRGraph(nodes, edges, metadata={"dt": 1e-3}), x


RESETS = ("zero", "subtract")


def run_nir() -> list[str]:
    """Run a graph from memory and from a path on every back end; all spikes have to be the reference's."""
    from neuromorphic.backends import simulate
    from neuromorphic.graph import flatten
    from neuromorphic.nir_file import read_nir

    graph, x = recurrent()
    nir.write("model.nir", graph)
    ran = []
    for precision, backends in (("float", ["numpy", "torch", "lava"]), ("fixed", ["numpy", "lava"])):
        expected = simulate(flatten(graph), {"input": x}, "numpy", precision=precision).record
        assert all(spikes.any() for spikes in expected.spikes.values()), "nothing fires: this shows nothing"
        for backend in backends:
            if not installed({"torch": "torch", "lava": "lava-nc"}.get(backend, backend)):
                continue
            for own in (flatten(graph), flatten(read_nir(Path("model.nir")))):
                record = simulate(own, {"input": x}, backend, precision=precision).record
                for name, spikes in expected.spikes.items():
                    assert (record.spikes[name] == spikes).all(), f"{backend}, {precision}: other spikes of {name}"
            ran.append(f"{backend} {precision}")
    return ran


def command(*arguments: str) -> None:
    """Run one of the project's commands; its output is told only where it fails."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"python -m {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def run_model() -> list[str]:
    """Train for two steps, evaluate; with Lava evaluate on it, export to netx and train with quantised synapses."""
    if not installed("torch"):
        return []
    command("gshn.train", *TRAIN, "--out", "plain")
    command("gshn.evaluate", "--checkpoint", "plain", "--task", "retrieval", "--json", "plain.json")
    assert json.loads(Path("plain.json").read_text())
    if not installed("lava-dl"):
        return ["train", "retrieval"]
    command("neuromorphic.export", "--to", "lava", "--checkpoint", "plain", "--out", "lava", "--images", "2")
    assert json.loads(Path("lava/report.json").read_text())["agreement"] == 1
    command("neuromorphic.export", "--to", "netx", "--checkpoint", "plain", "--out", "netx")
    command("gshn.train", *TRAIN, "model.spiking.quantize=true", "--out", "quantized")
    return ["train", "retrieval", "export to Lava", "netx", "quantised training"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        ran = [*run_nir(), *run_model()]
        os.chdir("/")
    versions = [platform.python_version(), *map(installed, ("numpy", "scipy", "nir", "torch", "lava-nc"))]
    print("|", " | ".join([*(found or "no" for found in versions), ", ".join(ran)]), "|")


if __name__ == "__main__":
    main()
