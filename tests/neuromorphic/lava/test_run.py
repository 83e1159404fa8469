"""Lava against the NumPy simulators, spike by spike, and what happens when a run goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scenarios import SCENARIOS, STEPS, reference_spikes

from neuromorphic.compiler.lower import lower, pack
from neuromorphic.compiler.quantize import quantize
from neuromorphic.errors import LavaMissingError, LavaRunError
from neuromorphic.execution.fixed_point import simulate_fixed
from neuromorphic.lava import compat, run
from neuromorphic.lava.run import run_on_lava

pytestmark = pytest.mark.lava
CHAINS = [lower(scenario.graph) for scenario in SCENARIOS.values()]
INPUTS = [scenario.x for scenario in SCENARIOS.values()]


def lava_processes() -> set[str]:
    """Ids of this machine's processes that run a Lava network of ours."""
    out = subprocess.run(["pgrep", "-f", "neuromorphic.lava.child"], capture_output=True, text=True).stdout
    return set(out.split())


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def test_float_gives_the_spikes_of_the_nir_graphs() -> None:
    result = run_on_lava(CHAINS, INPUTS, "float")
    assert result.steps == STEPS
    for scenario, ours in zip(SCENARIOS.values(), result.spikes, strict=True):
        for name, expected in reference_spikes(scenario.graph, scenario.x).items():
            np.testing.assert_array_equal(ours[name], expected, err_msg=f"{scenario.name}, {name}")


def test_fixed_point_gives_the_spikes_of_the_integer_simulator() -> None:
    result = run_on_lava(CHAINS, INPUTS, "fixed")
    chain, x = pack(CHAINS), np.concatenate(INPUTS, axis=1)
    expected = simulate_fixed(quantize(chain, float(np.abs(x).max())), x)
    for name, spikes in expected.items():
        np.testing.assert_array_equal(np.concatenate([own[name] for own in result.spikes], axis=1), spikes)
    assert [layer.name for layer in result.fixed] == list(expected)


def test_a_run_past_its_deadline_is_one_error_and_leaves_nothing() -> None:
    before = lava_processes(), shared_memory()
    with pytest.raises(LavaRunError, match=r"did not end within 0\.5 s"):
        run_on_lava(CHAINS[:1], INPUTS[:1], deadline=0.5)
    assert (lava_processes(), shared_memory()) == before


def test_a_process_that_dies_in_the_run_is_one_error_and_leaves_nothing() -> None:
    before = lava_processes(), shared_memory()
    long = np.zeros((200_000, INPUTS[0].shape[1]))

    def kill_a_process_model() -> None:
        child: set[str] = set()
        while not (child := lava_processes() - before[0]):
            time.sleep(0.05)
        while True:
            tree = subprocess.run(["pgrep", "-P", min(child, key=int)], capture_output=True, text=True).stdout.split()
            if len(tree) > 4:  # Lava's manager of shared memory, and its process models
                time.sleep(1.0)
                os.kill(int(tree[-1]), signal.SIGKILL)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_a_process_model, daemon=True)
    killer.start()
    with pytest.raises(LavaRunError, match=r"Lava failed: the process of .* died"):
        run_on_lava(CHAINS[:1], [long], deadline=120)
    killer.join()
    assert (lava_processes(), shared_memory()) == before


def test_an_input_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="take 2 inputs, got 3"):
        run_on_lava(CHAINS[:1], [np.zeros((STEPS, 3))])


def test_without_lava_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    with pytest.raises(LavaMissingError, match=r"make setup.*\.\[lava\]"):
        run.run_on_lava(CHAINS[:1], INPUTS[:1])


def test_the_mend_for_python_3_11_is_undone() -> None:
    script = (
        "import dataclasses; before = dataclasses.dataclass\n"
        "from neuromorphic.lava.compat import mend_lava; mend_lava()\n"
        "assert dataclasses.dataclass is before\n"
        "import lava.magma.compiler.compiler"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
