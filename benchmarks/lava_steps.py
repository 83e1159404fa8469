"""Lava with A and W kept apart, against Lava's stock route and against a bare NumPy/SciPy loop.

    python -m benchmarks.lava_steps --rounds 5 --json lava_steps.json

One network, three ways, in turn in every round: 64 scene graphs side by side (12 nodes x 64 channels, T = 16), layer 0
with the weights kron(I, W_0), layer 1 with kron(A, W_1).

bare: the same arithmetic in one process: y = A (x W^T), then LIF.
ours: Lava with our ``Synapses``; neurons are Lava's ``LIF``, whose model also writes its spikes to a file.
stock: Lava as it comes: ``RingBuffer`` -> ``Sparse`` -> ``LIF`` -> ``Sparse`` -> ``LIF`` -> ``RingBuffer``, spikes read
    by ``RingBuffer.data.get()``.
graded: The same, but ``Sparse`` is told that spikes are graded messages, with which it multiplies by the whole matrix
    instead of copying the columns of those that spiked; and spikes are kept as in ours. For the steps only.

``steps`` is the time from ``runtime.start`` to the end of the last step, ``whole`` all from the operators in the parent
process to the output spikes in the parent process, with the child's start, imports, compilation and end. The last
layer's spikes have to be identical in all of them. Each ratio is taken within a round; the table shows medians.
``memory`` is the largest sum of the proportional set sizes of the child and its processes, from a run of its own.
"""

from __future__ import annotations

import os

# Before NumPy is imported: threads of BLAS fight with Lava's processes for cores, and 768 x 64 is too little to share.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.network import Levels, Network, Population, Projection
from neuromorphic.compiler.operators import Kron
from neuromorphic.lava.folder import load, save
from neuromorphic.lava.run import run_network

IMAGES, NODES, CHANNELS, STEPS = 64, 12, 64, 16
DECAY, THRESHOLD = 0.5, 0.3
PAIRS = 0.92
"""Share of a graph's pairs of nodes that are joined. With it the two layers have 38 million synapses."""


def network(images: int) -> tuple[list[Kron], NDArray[np.float64]]:
    """Operators of both layers, and the input, constant over the steps, shape (T, n)."""
    random = np.random.default_rng(0)
    graphs = []
    for _ in range(images):
        joined = (random.random((NODES, NODES)) < PAIRS) & ~np.eye(NODES, dtype=bool)
        degree = np.maximum(joined.sum(axis=1, keepdims=True), 1)
        graphs.append(0.5 * np.eye(NODES) + 0.5 * joined / degree)
    nodes = images * NODES
    first = Kron(sparse.identity(nodes, format="csr"), random.normal(0.15, 0.5, (CHANNELS, CHANNELS)) / CHANNELS**0.5)
    second = Kron(sparse.block_diag(graphs, format="csr"), random.normal(0.0, 0.2, (CHANNELS, CHANNELS)))
    return [first, second], np.tile(random.normal(0.3, 1.0, nodes * CHANNELS), (STEPS, 1))


def bare(operators: list[Kron], x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The last layer's spikes, shape (T, neurons)."""
    potentials = [np.zeros(operator.shape[0]) for operator in operators]
    spikes = np.zeros((len(x), operators[-1].shape[0]), bool)
    for t, row in enumerate(x):
        messages: NDArray = row
        for operator, v in zip(operators, potentials, strict=True):
            a = (operator.left @ (messages.reshape(-1, CHANNELS) @ operator.right.T)).reshape(-1)
            v *= 1 - DECAY
            v += a
            messages = (v > THRESHOLD).astype(np.float64)
            v[v > THRESHOLD] = 0
        spikes[t] = messages
    return spikes


def ours(operators: list[Kron], x: NDArray[np.float64]) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Spikes of the last layer by the project's own route, and the seconds of the steps and of the whole."""
    begun = time.perf_counter()
    populations, projections = [], []
    source = "input"
    for k, operator in enumerate(operators):
        size = operator.shape[0]
        still = np.zeros(size)
        no_bias = Levels((), np.zeros((0, size)))
        populations.append(
            Population(f"lif_{k}", "lif", (size,), np.ones(size), still + DECAY, still + THRESHOLD, no_bias, still)
        )
        projections.append(Projection(source, f"lif_{k}", {0: operator}))
        source = f"lif_{k}"
    folded = Network({"input": (x.shape[1],)}, tuple(populations), tuple(projections), dt=1e-4)
    run = run_network(folded, {"input": x})
    return run.sent[source], {"steps": run.seconds["run"], "whole": time.perf_counter() - begun}


def lava_child(route: str, folder: Path) -> dict[str, float]:
    """Run stock Lava in this process; leaves ``spikes.npy`` in the folder and returns the seconds of each phase."""
    marks = [("import", time.perf_counter())]
    from neuromorphic.lava.compat import mend_lava

    mend_lava()
    from lava.magma.compiler.compiler import Compiler
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.runtime.message_infrastructure.factory import ActorType
    from lava.magma.runtime.runtime import Runtime

    marks.append(("build", time.perf_counter()))
    operators = load(folder, "operators")
    x = np.load(folder / "x.npy", mmap_mode="r")
    process, config, output = build_stock(operators, x, folder, graded=route == "graded")
    marks.append(("compile", time.perf_counter()))
    executable = Compiler().compile(process, config)
    runtime = Runtime(executable, ActorType.MultiProcessing)
    executable.assign_runtime_to_all_processes(runtime)
    marks.append(("start", time.perf_counter()))
    runtime.initialize()
    marks.append(("steps", time.perf_counter()))
    runtime.start(RunSteps(len(x) + len(operators)))
    marks.append(("read", time.perf_counter()))
    if output is not None:
        np.save(folder / "spikes.npy", output.data.get()[:, -len(x) :].T.astype(bool))
    marks.append(("stop", time.perf_counter()))
    runtime.stop()
    marks.append(("", time.perf_counter()))
    return {name: end - begin for (name, begin), (_, end) in pairwise(marks)}


def build_stock(operators: list[Any], x: NDArray, folder: Path, graded: bool = False) -> tuple[Any, Any, Any]:
    """Lava's processes, each with the model that Lava finds."""
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source
    from lava.proc.sparse.process import Sparse

    from neuromorphic.lava.processes.models import FLOAT, MODELS

    source = Source(data=np.pad(x, ((0, len(operators)), (0, 0))).T)
    # The input is graded whatever Sparse is told about spikes.
    first = Sparse(weights=operators[0].expand(), num_message_bits=24)
    second = Sparse(weights=operators[1].expand(), num_message_bits=24 if graded else 0)
    hidden, last = lif(operators[0].shape[0]), lif(operators[1].shape[0])
    source.s_out.connect(first.s_in)
    first.a_out.connect(hidden.a_in)
    hidden.s_out.connect(second.s_in)
    second.a_out.connect(last.a_in)
    if graded:
        np.save(folder / "spikes.npy", np.zeros((len(x), last.s_out.shape[0]), bool))
        last.proc_params.overwrite("messages", str(folder / "spikes.npy"))
        last.proc_params.overwrite("lag", len(operators))
        models = {last: MODELS[FLOAT][type(last)]}
        return source, Loihi2SimCfg(select_tag=FLOAT, exception_proc_model_map=models), None
    sink = Sink(shape=last.s_out.shape, buffer=len(x) + len(operators))
    last.s_out.connect(sink.a_in)
    return source, Loihi2SimCfg(select_tag=FLOAT), sink


def lif(size: int) -> Any:
    """Lava's neurons."""
    from lava.proc.lif.process import LIF

    one = np.ones(size)
    return LIF(shape=(size,), du=one, dv=DECAY * one, vth=THRESHOLD * one)


def run_route(route: str, operators: list[Kron], x: NDArray) -> tuple[NDArray[np.bool_], dict[str, float]]:
    """Spikes of a run in a child process, and the seconds of its phases and of the whole."""
    if route == "ours":
        return ours(operators, x)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lava-steps-") as name:
        folder = Path(name)
        np.save(folder / "x.npy", x)
        save(folder, operators, "operators")
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.lava_steps", "--child", route, str(folder)]
        child = subprocess.run(command, stdout=subprocess.PIPE, start_new_session=True, check=True)
        spikes = np.load(folder / "spikes.npy")
        whole = time.perf_counter() - begun
    return spikes, json.loads(child.stdout) | {"whole": whole}


def memory(route: str, operators: list[Kron], x: NDArray) -> float:
    """Peak memory of all processes that a run starts, in MB; pages that they share count once."""
    peak, over = 0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not over.wait(0.01):
            total = 0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            peak = max(peak, total)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    run_route(route, operators, x)
    over.set()
    watcher.join()
    return peak / 1e6


def measure(rounds: int, images: int) -> list[dict[str, Any]]:
    """Rows of benchmark, subject, seconds (MB of memory) and ratio to ours."""
    operators, x = network(images)
    print(f"{operators[0].nnz + operators[1].nnz:,} synapses, {len(x)} steps")
    expected = bare(operators, x)
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for subject in ("bare", "ours", "graded", "stock"):
            if subject == "bare":
                runs = []
                for _ in range(7):
                    begun = time.perf_counter()
                    bare(operators, x)
                    runs.append(time.perf_counter() - begun)
                phases = {"steps": float(np.median(runs))}
            else:
                spikes, phases = run_route(subject, operators, x)
                if not np.array_equal(spikes, expected):
                    raise SystemExit(f"the spikes of the {subject} route are others")
            if subject == "graded":
                phases = {"steps": phases["steps"]}
            for benchmark, value in phases.items():
                seconds.setdefault((benchmark, subject), []).append(value)
            print(f"round {number}, {subject}: " + ", ".join(f"{k} {v:.3f}" for k, v in phases.items()), flush=True)
    print(f"{int(expected.sum()):,} spikes of the last layer, the same in all")

    rows = []
    for (benchmark, subject), values in seconds.items():
        if benchmark not in ("steps", "whole"):
            continue
        ours = seconds[benchmark, "ours"]
        ratios = [value / own for value, own in zip(values, ours, strict=True)]
        rows.append(row(benchmark, subject, float(np.median(values)), float(np.median(ratios)), ratios))
    peaks = {subject: memory(subject, operators, x) for subject in ("ours", "stock")}
    rows += [
        row("memory", subject, peak, peak / peaks["ours"], [peak / peaks["ours"]]) for subject, peak in peaks.items()
    ]
    return rows


def row(benchmark: str, subject: str, value: float, ratio: float, ratios: list[float]) -> dict[str, Any]:
    """A line of the table."""
    unit = "megabytes" if benchmark == "memory" else "seconds"
    limits = {"lowest": min(ratios), "highest": max(ratios)}
    return {"benchmark": f"lava {benchmark}", "subject": subject, unit: value, "ratio": ratio} | limits


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--child", nargs=2, metavar=("ROUTE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        route, folder = arguments.child
        print(json.dumps(lava_child(route, Path(folder))), flush=True)
        os._exit(0)
    rows = measure(arguments.rounds, arguments.images)
    print(f"{'benchmark':<14}{'subject':<8}{'':>12}{'/ ours':>9}   lowest to highest")
    for line in rows:
        value = f"{line['seconds']:.4f} s" if "seconds" in line else f"{line['megabytes']:.0f} MB"
        spread = f"{line['lowest']:.2f} to {line['highest']:.2f}"
        print(f"{line['benchmark']:<14}{line['subject']:<8}{value:>12}{line['ratio']:>9.2f}   {spread}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
