"""lava-dl's HDF5 network: what the file says, and what lava-dl's own netx makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from scenarios import SCENARIOS, STEPS, chain, constant, lif, relay
from scipy import sparse

from neuromorphic import export
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import FixedNetwork, quantize
from neuromorphic.errors import LavaMissingError, LavaRunError, UnsupportedGraphError
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten
from neuromorphic.lava import lava_dl
from neuromorphic.lava.netx import run_netx
from neuromorphic.lava.netx_file import BIAS_LIMIT, NetxNetwork, fixed_network, netx_file, netx_network


def quantized(graph: nir.NIRGraph, x: np.ndarray) -> FixedNetwork:
    network = lower(flatten(graph))
    return quantize(network, run(network, {"input": x}).ranges, groups=1)


def compiled(graph: nir.NIRGraph, x: np.ndarray) -> tuple[NetxNetwork, FixedNetwork]:
    """The network, and the same in the terms of our own simulator."""
    exact = quantized(graph, x)
    network = netx_network(exact, len(x))
    return network, fixed_network(network, exact)


def simulate_fixed(network: FixedNetwork, x: np.ndarray) -> dict[str, np.ndarray]:
    """Spikes of every layer."""
    sent = run(network, {"input": x}).sent
    return {p.name: sent[p.name] > 0 for p in network.populations if p.spikes}


def spiking_network(seed: int = 0) -> tuple[nir.NIRGraph, np.ndarray]:
    """Three layers with biases of both signs, decays that differ, and graded input."""
    random = np.random.default_rng(seed)
    layers: list[nir.NIRNode] = []
    for n_in, n_out in ((6, 9), (9, 8), (8, 7)):
        layers.append(nir.Affine(weight=random.normal(0.3, 1.2, (n_out, n_in)), bias=random.normal(0.6, 0.6, n_out)))
        layers.append(lif(n_out, tau=1e-4 * random.uniform(1.5, 6, n_out), v_threshold=random.uniform(0.5, 1.5, n_out)))
    return chain(*layers), random.normal(0, 1.5, (STEPS, 6))


@pytest.mark.lava
def test_netx_gives_the_integer_simulators_spikes() -> None:
    graph, x = spiking_network()
    network, integers = compiled(graph, x)
    expected = simulate_fixed(integers, x)
    spikes, seconds = run_netx(network, integers.messages("input", x))
    (*_, output) = expected.values()
    assert all(0.02 < layer.mean() < 0.98 for layer in expected.values())
    np.testing.assert_array_equal(spikes, output)
    assert seconds["run"] > 0


@pytest.mark.lava
def test_bias_starts_with_its_layer() -> None:
    """Without input any step too early or late moves the spikes; netx's reset undoes what bias did before step 0."""
    scenario = SCENARIOS["deep_bias"]
    network, integers = compiled(scenario.graph, scenario.x)
    spikes, _ = run_netx(network, integers.messages("input", scenario.x))
    np.testing.assert_array_equal(spikes, simulate_fixed(integers, scenario.x)["lif_2"])
    assert spikes.any()


def test_file_layout(tmp_path: Path) -> None:
    graph, x = spiking_network()
    network, _ = compiled(graph, x)
    (tmp_path / "encoder.net").write_bytes(netx_file(network))
    with h5py.File(tmp_path / "encoder.net") as file:
        assert file["layer/0/type"][0] == b"input"
        assert list(file["layer"]) == ["0", "1", "2", "3"]
        for k, layer in enumerate(network.layers, start=1):
            group = file[f"layer/{k}"]
            assert (group["type"][0], group["neuron/type"][0]) == (b"dense", b"CUBA")
            np.testing.assert_array_equal(group["weight"], layer.weight)
            np.testing.assert_array_equal(group["bias"], layer.bias)
            assert group["neuron/iDecay"][()] == 4096
            np.testing.assert_array_equal(group["neuron/vDecay"], layer.dv)
        assert file.attrs["message_scale"] == network.message_scale


def test_integers_fit_what_netx_holds() -> None:
    """Weights even and in +-254, and the real numbers that all integers stand for near the exact ones."""
    graph, x = spiking_network(1)
    network, _ = compiled(graph, x)
    folded = lower(flatten(graph))
    messages = network.message_scale
    for layer in network.layers:
        exact, (synapses,) = folded.population(layer.name), folded.into(layer.name)
        assert not (layer.weight % 2).any() and np.abs(layer.weight).max() <= 254
        assert np.abs(layer.bias).max() <= BIAS_LIMIT
        assert np.abs(layer.vth).max() < 2**17
        np.testing.assert_allclose(layer.weight * messages / layer.scale, synapses.taps[0].toarray(), atol=0.02)
        np.testing.assert_allclose(layer.bias / layer.scale, exact.bias.at(0), atol=0.02)
        np.testing.assert_allclose(layer.vth / layer.scale, exact.threshold, atol=0.02)
        messages = 1.0


def test_a_bias_beyond_13_bits_takes_bits_from_the_weights() -> None:
    graph = chain(nir.Affine(weight=np.array([[0.1, -0.2]]), bias=np.array([3.0])), lif(1), *relay(1), *relay(1))
    network, _ = compiled(graph, constant(1.0, 1.0))
    assert network.layers[0].bias.max() <= BIAS_LIMIT


def test_what_netx_cannot_say_is_refused() -> None:
    scenario = SCENARIOS["v_reset"]
    with pytest.raises(UnsupportedGraphError, match=r"'lif_0': v_reset is not 0"):
        compiled(scenario.graph, scenario.x)
    silent = chain(nir.Linear(weight=np.zeros((2, 2))), lif(2), *relay(2), *relay(2))
    with pytest.raises(UnsupportedGraphError, match=r"'lif_0': all its synapses are 0"):
        compiled(silent, constant(1.0, 1.0))
    graph, x = spiking_network()
    exact = quantized(graph, x)
    first, *others = exact.projections
    mixed = first.taps[0].toarray() * 0
    mixed[0, 0] = -64
    negative = replace(first, taps={0: sparse.csr_matrix(mixed)}, weight_exp=np.zeros(len(mixed), np.int32))
    with pytest.raises(UnsupportedGraphError, match="down to a power of 2"):
        netx_network(replace(exact, projections=(negative, *others)), 4)


@pytest.mark.lava
def test_a_run_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, x = spiking_network()
    network, integers = compiled(graph, x)
    monkeypatch.setattr("neuromorphic.lava.netx.netx_file", lambda _: b"no network")
    with pytest.raises(LavaRunError, match="Lava failed"):
        run_netx(network, integers.messages("input", x))


def test_without_lava_dl_the_mend_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("neuromorphic.lava.compat.require_lava", lambda: None)
    monkeypatch.setattr(lava_dl, "find_spec", lambda _: None)
    arguments = ["--to", "netx", "--checkpoint", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["export", *arguments])
    with pytest.raises(LavaMissingError, match=r"netx needs lava-dl.*doctor --install lava"):
        export.main()


@pytest.mark.lava
def test_export_of_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["e", "--to", "netx", "--checkpoint", str(finished), "--out", str(tmp_path)])
    export.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.net", "report.json"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["simulator_agreement"] == 1.0 and report["simulator_first_difference"] is None
    assert report["agreement"] > 0.9
    assert "100.0000 %" in capsys.readouterr().out
