"""A batch of a dense network on every back end: time, CPU time and memory.

    python -m benchmarks.batch --json batch.json
    python -m benchmarks.batch --network conv --batch 8
    python -m benchmarks.batch --batch 256 --only "folded float" "lava float" "lava fixed"

784 - 1000 - 1000 - 10 LIF neurons, dense weights, T = 100, 64 samples of spikes of a rate of 0.15; the hidden layers
fire in 5 to 20 % of their steps. ``--network conv`` is 2 x 34 x 34 - 16 channels - 32 channels - 10, with sums over
2 x 2 after each convolution. Each subject runs in a process of its own, once; importing is in it. ``ours`` is Lava
in float64, which the other subjects are held against.

CPU seconds are those of the process and of all that it starts; memory is the largest sum of their proportional set
sizes: pages that processes share count once. Figures beside the ratios: the firing rates, and a checksum of all spikes,
which back ends of one precision have in common.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

SIZES, STEPS, BATCH, DT = (784, 1000, 1000, 10), 100, 64, 1e-3
RATE = 0.15
SUBJECTS = ("reference", "torch", "folded float", "numpy fixed", "c float", "c fixed", "lava float", "lava fixed")
OURS = "lava float"
SAMPLE_SECONDS = 0.1
"""How often memory is looked at."""


IMAGE = 2, 34, 34


def conv_graph() -> nir.NIRGraph:
    """The network ``conv``; tau = 5 dt, threshold 1."""
    random = np.random.default_rng(0)

    def lif(*shape: int) -> nir.LIF:
        one = np.ones(shape)
        return nir.LIF(tau=5 * DT * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)

    def conv(channels: int, source: tuple[int, int, int], kernel: int) -> nir.Conv2d:
        weight = random.normal(0.0, 8.0 / (source[0] * kernel**2) ** 0.5, (channels, source[0], kernel, kernel))
        return nir.Conv2d(source[1:], weight, 1, kernel // 2, 1, 1, np.zeros(channels))

    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    nodes = {
        "input": nir.Input(np.array(IMAGE)),
        "conv_0": conv(16, IMAGE, 5), "lif_0": lif(16, 34, 34), "pool_0": pool,
        "conv_1": conv(32, (16, 17, 17), 3), "lif_1": lif(32, 17, 17), "pool_1": pool,
        "flatten": nir.Flatten({"input": np.array([32, 8, 8])}, 0, -1),
        "linear": nir.Linear(random.normal(0.0, 5.0 / 2048**0.5, (10, 2048))), "lif_2": lif(10),
        "output": nir.Output(np.array([10])),
    }  # fmt: skip
    return nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)


def graph() -> nir.NIRGraph:
    """The network; tau = 5 dt, threshold 1."""
    random = np.random.default_rng(0)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array([SIZES[0]])})}
    for k, (source, size) in enumerate(pairwise(SIZES)):
        one = np.ones(size)
        weight = random.normal(0.0, 10.0 / source**0.5, (size, source))
        nodes[f"linear_{k}"] = nir.Linear(weight)
        nodes[f"lif_{k}"] = nir.LIF(tau=5 * DT * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    nodes["output"] = nir.Output({"output": np.array([SIZES[-1]])})
    return nir.NIRGraph(nodes, list(pairwise(nodes)))


def inputs(batch: int, steps: int, graded: bool, image: bool = False) -> dict[str, NDArray]:
    """Spikes, or normal values of the same variance; shape (B, T, 784), or of ``conv`` (B, T, 2, 34, 34)."""
    random = np.random.default_rng(1)
    shape = (batch, steps, *(IMAGE if image else SIZES[:1]))
    if graded:
        return {"input": random.normal(0.0, RATE**0.5, shape)}
    return {"input": (random.random(shape) < RATE).astype(np.float64)}


def child(subject: str, batch: int, steps: int, graded: bool, image: bool) -> dict[str, Any]:
    """Run a subject in this process: its phases' seconds, the layers' rates, and a checksum of all spikes."""
    from neuromorphic.backends import simulate
    from neuromorphic.compiler.lower import lower
    from neuromorphic.execution import populations
    from neuromorphic.graph import flatten

    flat, x = flatten(conv_graph() if image else graph(), DT), inputs(batch, steps, graded, image)
    begun = time.perf_counter()
    if subject == "folded float":
        sent = populations.run(lower(flat), x, batched=True).sent
        spikes = {name: sent[name].astype(bool) for name in flat.spiking}
        seconds = {}
    else:
        backend, _, precision = subject.partition(" ")
        run = simulate(flat, x, backend, precision or "float")  # type: ignore[arg-type]
        spikes, seconds = run.record.spikes, run.seconds
    seconds = {"all": time.perf_counter() - begun} | seconds
    checksum = 0
    for name in sorted(spikes):
        checksum = zlib.crc32(np.packbits(np.ascontiguousarray(spikes[name])).tobytes(), checksum)
    rates = {name: float(values.mean()) for name, values in spikes.items()}
    return {"phases": seconds, "rates": rates, "checksum": checksum}


def measure(subject: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A subject in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.batch", "--child", subject]
    command += ["--batch", str(arguments.batch), "--steps", str(arguments.steps)]
    command += ["--network", arguments.network, *(["--graded"] if arguments.graded else [])]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    watched, peak = psutil.Process(process.pid), 0
    while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        total = 0
        with suppress(psutil.Error):
            for own in (watched, *watched.children(recursive=True)):
                with suppress(psutil.Error):
                    total += own.memory_full_info().pss
        peak = max(peak, total)
        time.sleep(SAMPLE_SECONDS)
    _, status, usage = done
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stdout is not None
    said = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{subject} ended with status {process.returncode}")
    spent = {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "gigabytes": peak / 1e9,
    }
    return {"subject": subject, "batch": arguments.batch, "steps": arguments.steps} | spent | json.loads(said)


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows, with ratios to ours."""
    table = Table("subject")
    columns = {"seconds": "s", "cpu_seconds": "CPU s", "gigabytes": "GB"}
    ours = next((row for row in rows if row["subject"] == OURS), None)
    for column in ("s", "CPU s", "GB", "CPU / ours", "GB / ours", "rates", "spikes"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [f"{row[key]:.2f}" for key in columns]
        cells += [f"{row[key] / ours[key]:.2f}" if ours else "" for key in ("cpu_seconds", "gigabytes")]
        cells += [", ".join(f"{rate:.3f}" for rate in row["rates"].values()), f"{row['checksum']:08x}"]
        table.add_row(row["subject"], *cells)
    Console().print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--network", choices=["dense", "conv"], default="dense")
    parser.add_argument("--graded", action="store_true", help="numbers for the input, not spikes")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--child", choices=SUBJECTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        size = arguments.batch, arguments.steps, arguments.graded, arguments.network == "conv"
        print(json.dumps(child(arguments.child, *size)), flush=True)
        return
    rows = []
    for subject in arguments.only:
        rows.append(measure(subject, arguments))
        print(f"{subject}: " + ", ".join(f"{k} {v:.2f}" for k, v in rows[-1]["phases"].items()), flush=True)
    show(rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
