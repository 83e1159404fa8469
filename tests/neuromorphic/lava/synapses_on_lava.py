"""Run by test_synapses.py as ``python synapses_on_lava.py TAG RUNTIME FILE``: every case, by ours and by Lava's.

In a process of its own because Lava's multiprocessing and its hangs do not belong into pytest's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuromorphic.compiler.operators import Kron, Operator, expand, quantize_kron
from neuromorphic.lava.compat import mend_lava
from neuromorphic.lava.program import FIXED

NODES, CHANNELS, STEPS = 6, 4, 12


def operators(tag: str) -> list[Operator]:
    """In numbers whose sums are exact in any order: float results too can be compared bit by bit."""
    random = np.random.default_rng(0)
    out: list[Operator] = []
    for m in (4, 7):
        left = random.choice([0.0, 0.0, 0.25, 1.0, -0.5], (NODES, NODES))
        kron = Kron(sparse.csr_matrix(left), random.integers(-127, 128, (m, CHANNELS)) / 8.0)
        fixed = quantize_kron(kron, 16.0)
        assert fixed is not None
        out += [fixed, fixed.expand()] if tag == FIXED else [kron, kron.expand()]
    return out


def cases(tag: str) -> Iterator[tuple[str, list[tuple[int, Operator]], int]]:
    """Name, taps, exponent."""
    first, as_matrix, wide, wide_matrix = operators(tag)
    taps = {
        "operator": [(0, first)],
        "matrix": [(0, as_matrix)],
        "late": [(3, wide)],
        "taps": [(0, first), (2, as_matrix)],
        "late_taps": [(1, wide_matrix), (4, wide)],
    }
    exponents = {"operator": (-3, 0), "taps": (-2, 2), "late_taps": (-5,)} if tag == FIXED else {}
    for name, own in taps.items():
        for exponent in exponents.get(name, (0,)):
            yield f"{name}_{exponent}", own, exponent


def messages(tag: str) -> NDArray:
    """Spikes for the first half, then graded."""
    random = np.random.default_rng(1)
    x = random.integers(0, 2, (STEPS, NODES * CHANNELS))
    x[STEPS // 2 :] *= random.integers(-99, 100, (STEPS - STEPS // 2, NODES * CHANNELS))
    return x.astype(np.int32 if tag == FIXED else np.float64)


def expected(taps: list[tuple[int, Operator]], exponent: int, x: NDArray) -> NDArray:
    """a[t + 1 + delay] += W x[t], shifted."""
    out = np.zeros((STEPS, taps[0][1].shape[0]), x.dtype)
    for delay, operator in taps:
        weight = expand(operator).toarray()
        for t in range(STEPS - 1 - delay):
            a = weight @ x[t]
            if x.dtype == np.int32:
                a = np.floor(a * 2.0**exponent).astype(np.int32)
            out[t + 1 + delay] += a
    return out


def main() -> None:
    tag, runtime_name, path = sys.argv[1:]
    mend_lava()
    from lava.magma.compiler.compiler import Compiler
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.magma.runtime.message_infrastructure.factory import ActorType
    from lava.magma.runtime.runtime import Runtime
    from lava.proc.io.sink import RingBuffer as Sink
    from lava.proc.io.source import RingBuffer as Source

    from neuromorphic.lava.runtime import SLOTS, LeanRuntime
    from neuromorphic.lava.synapses import FedSynapses, connect

    source = Source(data=messages(tag).T)
    sinks = {}
    for name, taps, exponent in cases(tag):
        for stock in (False, True):
            sink = Sink(shape=(taps[0][1].shape[0],), buffer=STEPS)
            connect(source.s_out, sink.a_in, taps, weight_exp=exponent, stock=stock, name=f"{name}_{stock}")
            sinks[f"{name}/{'stock' if stock else 'ours'}"] = sink
        fed = FedSynapses(rows=messages(tag)[: STEPS // 2], taps=taps, weight_exp=exponent)
        sinks[f"{name}/fed"] = Sink(shape=(taps[0][1].shape[0],), buffer=STEPS)
        fed.a_out.connect(sinks[f"{name}/fed"].a_in)
        # Lava runs what is connected with the first process.
        connect(source.s_out, sinks[f"{name}/fed"].a_in, [(0, 0 * expand(taps[0][1]))])
    executable = Compiler({"pypy_channel_size": SLOTS}).compile(source, Loihi2SimCfg(select_tag=tag))
    runtime = {"lean": LeanRuntime, "lava": Runtime}[runtime_name](executable, ActorType.MultiProcessing)
    executable.assign_runtime_to_all_processes(runtime)
    runtime.initialize()
    runtime.start(RunSteps(STEPS))
    np.savez(path, **{name: sink.data.get().T for name, sink in sinks.items()})
    runtime.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
