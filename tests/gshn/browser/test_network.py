"""What the page shows of a NIR file, without a browser."""

import json
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import official
import pytest

import neuromorphic as nm
from gshn.browser.network import Settings, network
from gshn.browser.shown import required_number, seconds, shown_or_error
from gshn.errors import DataError


def write(path: Path, **metadata: object) -> Path:
    """Two layers of LIF neurons with weights that 8 bits do not hold."""
    random = np.random.default_rng(0)
    one, shape = np.ones(6), np.array([6])
    lif = {"tau": 2e-3 * one, "r": one, "v_leak": 0 * one, "v_threshold": 0.2 * one, "v_reset": 0 * one}
    nodes = {
        "input": nir.Input(shape),
        "fc": nir.Linear(random.normal(0, 0.5, (6, 6))),
        "first": nir.LIF(**lif),
        "fc2": nir.Linear(random.normal(0, 0.5, (6, 6))),
        "second": nir.LIF(**lif),
        "output": nir.Output(shape),
    }
    names = list(nodes)
    nir.write(str(path), nir.NIRGraph(nodes, list(pairwise(names)), metadata=metadata))
    return path


def test_a_file_is_run_on_two_back_ends_and_all_numbers_are_the_apis(tmp_path) -> None:
    path = write(tmp_path / "a.nir", dt=1e-3)
    shown = network(path, Settings(steps=40, seed=3))
    net = nm.load(path)
    verification = net.verify(against="numpy", precision="fixed", steps=40, seed=3)
    assert verification.first_difference is not None, "else the test shows nothing"
    told = json.loads(shown.json)
    assert told["verification"] == json.loads(json.dumps(verification.report() | {"nir": "a.nir"}))
    first = verification.first_difference
    assert f"node '{first.node}', step {first.step}, neuron {first.neuron}" in shown.headline
    conversion = net.check("loihi2")
    assert told["conversion"]["total_cores"] == conversion.cores and told["conversion"]["nir"] == "a.nir"
    assert {name: (own["low"], own["high"]) for name, own in told["joules"].items()} == net.profile(
        verification.expected
    ).joules
    html = shown.html()
    assert str(tmp_path) not in html and str(tmp_path) not in shown.json
    for title in ("Two back ends", "Graph", "Nodes", "Conversion", "Energy"):
        assert f"<h3>{title}</h3>" in html
    assert "fits Loihi 2" in html and shown.png.startswith(b"\x89PNG")


def test_what_is_the_same_is_called_so(tmp_path) -> None:
    shown = network(write(tmp_path / "a.nir", dt=1e-3), Settings(right="torch, float"))
    assert shown.headline == "All spikes are equal"


def test_what_the_file_does_not_say_can_be_given_and_is_in_the_file_that_comes_back(tmp_path) -> None:
    path = write(tmp_path / "a.nir")
    words = {"give --dt SECONDS": "give it under More"}
    said = shown_or_error(lambda: network(path, Settings()), str(path), words)
    assert said == "a.nir: the NIR graph does not say its time step: give it under More, or write metadata 'dt'"
    shown = network(path, Settings(dt=1e-3, reset="subtract"))
    (tmp_path / "b.nir").write_bytes(shown.nir)
    back, own = nm.load(tmp_path / "b.nir"), nm.load(path, 1e-3, "subtract")
    assert back.dt == 1e-3 and {node.reset for node in back.graph.nodes.values()} == {None, "subtract"}
    x = np.random.default_rng(1).normal(0.5, 1.0, (20, 6))
    assert all(np.array_equal(spikes, own.run(x).spikes[name]) for name, spikes in back.run(x).spikes.items())


def test_an_input_of_ones_own_is_run(tmp_path) -> None:
    path, x = write(tmp_path / "a.nir", dt=1e-3), np.full((7, 6), 0.9)
    np.save(tmp_path / "x.npy", x)
    told = json.loads(network(path, Settings(x=tmp_path / "x.npy")).json)
    assert told["verification"]["agreement"] == nm.load(path).verify(x, "numpy", "fixed").agreement.fraction


def test_a_graph_that_cannot_be_converted_is_run_all_the_same(tmp_path, monkeypatch) -> None:
    def refuse(self: nm.SpikingNetwork, *_: object) -> None:
        raise nm.UserError(f"{self.source}: node 'fc' cannot be quantised")

    monkeypatch.setattr(nm.SpikingNetwork, "check", refuse)
    shown = network(write(tmp_path / "a.nir", dt=1e-3), Settings())
    assert (
        shown.sections["Conversion"] == "<p>It cannot be converted: a.nir: node &#x27;fc&#x27; cannot be quantised</p>"
    )
    assert json.loads(shown.json)["conversion"] is None


def test_what_is_wrong_is_one_line_without_folders(tmp_path) -> None:
    good = write(tmp_path / "a.nir", dt=1e-3)
    cut = tmp_path / "cut.nir"
    cut.write_bytes(good.read_bytes()[:700])
    np.save(tmp_path / "x.npy", np.ones((5, 7)))
    cases = [
        (None, Settings(), "there is no NIR file yet: choose one"),
        (official.jpeg(tmp_path / "a.jpg"), Settings(), "a.jpg is not a NIR graph"),
        (cut, Settings(), "cut.nir is not a NIR graph"),
        (good, Settings(steps=0), "steps is 0; give a whole number of at least 1"),
        (good, Settings(dt=-1.0), "a.nir: the time step must be positive"),
        (good, Settings(x=tmp_path / "x.npy"), "x.npy"),
    ]
    for path, settings, said in cases:
        made = shown_or_error(lambda path=path, settings=settings: network(path, settings), path and str(path))
        assert isinstance(made, str) and said in made and "\n" not in made and str(tmp_path) not in made
    with pytest.raises(DataError, match="steps is empty"):
        required_number("steps", None)
    with pytest.raises(DataError, match="time step 'soon' is not a number"):
        seconds("soon")
    assert seconds(None) is None and seconds(" ") is None and seconds("1e-4") == 1e-4
