"""Other people's graphs with the spikes that they are known to give, where they are at hand (shared/data/nir_cases).

Graphs and stimuli of the NIR paper; NIR_CASES.md there says where each comes from and which simulators gave the spikes.
"""

from __future__ import annotations

import h5py
import numpy as np
import official
import pytest
from numpy.typing import NDArray

from neuromorphic.backends import simulate
from neuromorphic.errors import UserError
from neuromorphic.execution.record import Record
from neuromorphic.execution.spikes import by_node
from neuromorphic.graph import RESETS, flatten
from neuromorphic.nir_file import read_nir

CASES = official.SHARED / "nir_cases"
DT = 1e-4
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="the NIR paper's graphs (shared/data/nir_cases) are not at hand"
)

BACKENDS = ("numpy", "torch")
BRAILLE = {"bias_zero": ("braille_noDelay_bias_zero", 38), "noBias_subtract": ("braille_noDelay_noBias_subtract", 40)}
"""File, and neurons of its hidden layer."""
SEMANTICS = {
    ("bias_zero", "zero"): ("snntorch", 1116),
    ("bias_zero", "subtract"): ("spyx", 1080),
    ("noBias_subtract", "zero"): ("norse", 1123),
    ("noBias_subtract", "subtract"): ("spyx", 1127),
}
"""By network and reset rule, the simulator whose spikes are ours, and how many of 1,158 samples are read rightly."""


def arrays(name: str) -> dict[str, NDArray]:
    with np.load(CASES / f"{name}.npz") as file:
        return dict(file)


def bits(packed: NDArray, count: int) -> NDArray:
    return np.unpackbits(packed, axis=-1, count=count)


def run(name: str, x: NDArray, backend: str, reset: str | None = None) -> Record:
    graph = flatten(read_nir(CASES / "nir" / f"{name}.nir"), DT, reset)
    return simulate(graph, {graph.inputs[0]: x}, backend).record


LAVA = pytest.param("lava", marks=pytest.mark.lava)


@pytest.mark.parametrize("backend", [*BACKENDS, LAVA])
def test_one_neuron(backend: str) -> None:
    file = arrays("lif")
    (spikes,) = run("lif_norse", file["x"][None, :, None], backend).spikes.values()
    assert np.flatnonzero(spikes).tolist() == [460, 510, 710, 760]
    np.testing.assert_array_equal(spikes[0, :, 0], file["spk_expected"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_of_rockpool_with_axes_for_batch_and_time(backend: str) -> None:
    """Its output has the shape (1, 1, 1); the neuron has the shape (1,)."""
    x = arrays("lif")["x"]
    with h5py.File(CASES / "nir" / "lif_rockpool.nir") as file:
        nodes = file["node/nodes"]
        assert nodes["output/shape"][()].tolist() == [1, 1, 1]
        weight, neuron = float(nodes["0_LinearTorch/weight"][0, 0]), nodes["1_LIFNeuronTorch"]
        tau, r, threshold = (float(neuron[key][0]) for key in ("tau", "r", "v_threshold"))
    v, expected = 0.0, []
    for value in x:
        v += DT / tau * (r * weight * value - v)
        expected.append(v > threshold)
        v = 0.0 if v > threshold else v
    (spikes,) = run("lif_rockpool", x[None, :, None], backend).spikes.values()
    assert spikes[0, :, 0].tolist() == expected and sum(expected) == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_neurons_that_fire_by_themselves(backend: str) -> None:
    """From v = 0: 1.2 (1 - 0.99^n) first passes 1 at n = 179."""
    spikes = run("two_lif_neurons", np.zeros((1, 1000, 1)), backend).spikes
    assert np.flatnonzero(spikes["lif1"]).tolist() == [178, 357, 536, 715, 894]
    assert not spikes["lif2"].any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("network", BRAILLE)
def test_braille_of_a_hundred_samples(network: str, reset: str, backend: str) -> None:
    """Every spike of both layers."""
    file, (name, hidden) = arrays("braille_100"), BRAILLE[network]
    spikes = run(name, bits(file["x"], 12), backend, reset).spikes
    semantics, _ = SEMANTICS[network, reset]
    np.testing.assert_array_equal(spikes["lif1.lif"], bits(file[f"{network}/lif1/{semantics}"], hidden))
    np.testing.assert_array_equal(spikes["lif2"], bits(file[f"{network}/out/{semantics}"], 7))


@pytest.mark.parametrize("network", BRAILLE)
def test_braille_of_the_papers_test_sample(network: str) -> None:
    """As the paper's own runs had it; spyx records a step late."""
    file, (name, _) = arrays("braille_test0"), BRAILLE[network]
    for (of, reset), (semantics, _) in SEMANTICS.items():
        if of == network:
            ours = run(name, file["x"][None], "numpy", reset).spikes["lif1.lif"][0]
            late = 1 if semantics == "spyx" else 0
            np.testing.assert_array_equal(ours[: len(ours) - late], file[f"{network}/lif1/{semantics}"][late:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("network", BRAILLE)
def test_braille_of_all_samples(network: str, reset: str, backend: str) -> None:
    """Every count of every output neuron, and so the letters that are read."""
    file, (name, _) = arrays("braille_pool1158"), BRAILLE[network]
    counts = run(name, bits(file["x"], 12), backend, reset).spikes["lif2"].sum(axis=1)
    semantics, right = SEMANTICS[network, reset]
    np.testing.assert_array_equal(counts, file[f"{network}/counts/{semantics}"])
    assert (counts.argmax(axis=1) == file["y"]).sum() == right


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("network", BRAILLE)
def test_braille_in_fixed_point(network: str, reset: str) -> None:
    """Of all samples; run with -s for the table of docs/lava.md."""
    file, (name, _) = arrays("braille_pool1158"), BRAILLE[network]
    graph = flatten(read_nir(CASES / "nir" / f"{name}.nir"), DT, reset)
    x = {graph.inputs[0]: bits(file["x"], 12)}
    exact, fixed = simulate(graph, x), simulate(graph, x, "numpy", "fixed")
    right = [float((r.record.spikes["lif2"].sum(axis=1).argmax(axis=1) == file["y"]).mean()) for r in (exact, fixed)]
    agreement = by_node(fixed.record.spikes, exact.record.spikes)
    row = [f"{100 * share:.2f} %" for share in (*right, agreement["lif1.lif"], agreement["lif2"])]
    print(f"\n| {network} | {reset} | {' | '.join(row)} |")
    assert not fixed.overflow
    assert abs(right[1] - right[0]) < 0.005
    assert agreement["lif1.lif"] > 0.995 and agreement["lif2"] > 0.9


@pytest.mark.parametrize("reset", RESETS)
def test_convolutions_of_sinabs_in_fixed_point(reset: str) -> None:
    """Integrators without a leak, whose inhibition adds up."""
    graph = flatten(read_nir(CASES / "nir" / "cnn_sinabs.nir"), DT, reset)
    x = {graph.inputs[0]: bits(arrays("cnn_synth")["x"], 34)}
    exact, fixed = simulate(graph, x), simulate(graph, x, "numpy", "fixed")
    agreement = by_node(fixed.record.spikes, exact.record.spikes)
    print(f"\n{reset}: {agreement}")
    assert not fixed.overflow and min(agreement.values()) > 0.9


@pytest.mark.lava
@pytest.mark.parametrize("network", BRAILLE)
def test_braille_on_lava(network: str) -> None:
    """Four samples, with the reset that the network was trained with."""
    file, (name, hidden) = arrays("braille_100"), BRAILLE[network]
    reset = network.rpartition("_")[2]
    spikes = run(name, bits(file["x"][:4], 12), "lava", reset).spikes
    semantics, _ = SEMANTICS[network, reset]
    np.testing.assert_array_equal(spikes["lif1.lif"], bits(file[f"{network}/lif1/{semantics}"][:4], hidden))
    np.testing.assert_array_equal(spikes["lif2"], bits(file[f"{network}/out/{semantics}"][:4], 7))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reset", RESETS)
def test_convolutions_of_sinabs(reset: str, backend: str) -> None:
    file = arrays("cnn_synth")
    record = run("cnn_sinabs", bits(file["x"], 34), backend, reset)
    np.testing.assert_array_equal(record.outputs["output"], file[f"out_{reset}"])
    if reset == "zero":
        np.testing.assert_array_equal(record.spikes["1"], bits(file["lif1_zero"], 16))


@pytest.mark.lava
def test_convolutions_of_sinabs_on_lava() -> None:
    file = arrays("cnn_synth")
    record = run("cnn_sinabs", bits(file["x"][:1, :40], 34), "lava", "zero")
    assert file["out_zero"][0, :40].any()
    np.testing.assert_array_equal(record.outputs["output"], file["out_zero"][:1, :40])
    np.testing.assert_array_equal(record.spikes["1"], bits(file["lif1_zero"][:1, :40], 16))


@pytest.mark.parametrize("network", BRAILLE)
def test_a_nested_graph_whose_edges_name_no_node(network: str) -> None:
    """The right spikes, or one line that names the node."""
    file, (name, _) = arrays("braille_100"), BRAILLE[network]
    reset = network.rpartition("_")[2]
    try:
        record = run(f"{name}_subgraph", bits(file["x"][:4], 12), "numpy", reset)
    except UserError as error:
        assert "\n" not in str(error) and "lif1" in str(error)
        return
    semantics, _ = SEMANTICS[network, reset]
    np.testing.assert_array_equal(record.outputs["output"], bits(file[f"{network}/out/{semantics}"][:4], 7))


def test_every_graph_is_tried() -> None:
    names = {name for name, _ in BRAILLE.values()}
    tried = {*names, *(f"{name}_subgraph" for name in names)}
    tried |= {"lif_norse", "lif_rockpool", "two_lif_neurons", "cnn_sinabs"}
    assert {path.stem for path in (CASES / "nir").glob("*.nir")} == tried
