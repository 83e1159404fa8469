"""The support table runs what it says, and a cell can say that it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuromorphic import support
from neuromorphic.compiler.network import Network
from neuromorphic.compiler.operators import expanded
from neuromorphic.compiler.quantize import FixedNetwork, quantize
from neuromorphic.errors import LavaMissingError, UnsupportedGraphError
from neuromorphic.execution import populations, torch_simulator
from neuromorphic.graph.model import GRADED_NEURONS, LINEAR, PARAMETERS
from neuromorphic.lava.run import LavaRun
from neuromorphic.support import DIFFERS, MISSING, NO, Row, primitives, rows

NAMES = ("Conv2d", "Delay", "LI", "LIF", "LIF, reset by subtraction", "loops")
Break = Callable[[dict[str, NDArray]], None]


def table(names: tuple[str, ...] = NAMES) -> dict[str, Row]:
    return {row.primitive: row for row in rows(names)}


def stand_in(monkeypatch: pytest.MonkeyPatch, spoil: Break = lambda sent: None, fixed: bool | None = None) -> None:
    """Put our own simulator in Lava's place, with what it sends spoilt in float, in fixed point, or both."""

    def run(network: Network, x: Mapping[str, NDArray]) -> LavaRun:
        sent = {name: values.copy() for name, values in populations.run(network, x).sent.items()}
        if fixed in (None, isinstance(network, FixedNetwork)):
            spoil(sent)
        return LavaRun(sent, {}, {})

    monkeypatch.setattr(support, "run_network", run)


def test_every_primitive_is_there() -> None:
    names = primitives()
    assert {kind.__name__ for kind in (*LINEAR, *PARAMETERS)} | {"Delay", "Input", "Output"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.lava
def test_rows_say_what_lava_gives() -> None:
    found = {row.primitive: row for row in rows()}
    assert list(found) == primitives()
    assert found["LIF"].lava_float == "LIF" and found["LIF, reset by subtraction"].lava_float == "a process of ours"
    assert found["Delay"].lava_float == "delays of synapses" and found["Conv2d"].lava_float == "synapses"
    for name, row in found.items():
        assert row.loihi2.startswith("no:") == (name in GRADED_NEURONS or "subtraction" in name)
        assert row.torch == "yes" and row.lava_float not in (DIFFERS, NO, MISSING)
        assert row.lava_fixed == "yes", name


def test_one_spike_more_on_lava_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_more(sent: dict[str, NDArray]) -> None:
        step, neuron = np.argwhere(~sent["LIF/node"].astype(bool))[3]
        sent["LIF/node"][step, neuron] = 1

    stand_in(monkeypatch)
    assert table()["LIF"].lava_float == "LIF"
    for fixed in (False, True):
        stand_in(monkeypatch, one_more, fixed)
        found = table()
        assert (found["LIF"].lava_float == DIFFERS) is (not fixed) and (found["LIF"].lava_fixed == DIFFERS) is fixed
        assert found["Conv2d"].lava_float == "synapses" and found["Conv2d"].lava_fixed == "yes"


def test_a_number_that_is_off_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def shift(sent: dict[str, NDArray], by: float = 1) -> None:
        sent["Conv2d/values"][5, 2] += by

    stand_in(monkeypatch, lambda sent: shift(sent, 1e-12), fixed=False)  # rounding
    assert table()["Conv2d"].lava_float == "synapses"
    stand_in(monkeypatch, lambda sent: shift(sent, 1e-6), fixed=False)
    assert table()["Conv2d"].lava_float == DIFFERS
    stand_in(monkeypatch, shift, fixed=True)  # one unit, in integers
    assert table()["Conv2d"].lava_fixed == DIFFERS


def test_fixed_point_that_is_far_from_float_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though Lava gives what the integer simulator gives."""

    def louder(network: Network, ranges: Any) -> FixedNetwork:
        taps = [{delay: 1.3 * expanded(w, 0) for delay, w in p.taps.items()} for p in network.projections]
        own = [p if p.identity else replace(p, taps=t) for p, t in zip(network.projections, taps, strict=True)]
        return quantize(replace(network, projections=tuple(own)), ranges)

    stand_in(monkeypatch)
    assert {table()[name].lava_fixed for name in ("Conv2d", "LIF", "Delay")} == {"yes"}
    monkeypatch.setattr(support, "quantize", louder)
    found = table()
    assert {found[name].lava_fixed for name in ("Conv2d", "LIF", "Delay")} == {DIFFERS}
    assert found["LIF"].lava_float == "LIF"


def test_what_is_refused_is_not_called_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedGraphError("no")

    stand_in(monkeypatch)
    monkeypatch.setattr(support, "quantize", refuse)
    assert all(row.lava_fixed == NO and row.lava_float != NO for row in table().values())
    monkeypatch.setattr(support, "lower", refuse)
    assert all(row.lava_fixed == NO and row.lava_float == NO for row in table().values())


def test_without_lava_nothing_is_claimed_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise LavaMissingError("no Lava")

    monkeypatch.setattr(support, "run_network", missing)
    assert all(row.lava_fixed == row.lava_float == MISSING and row.torch == "yes" for row in table().values())


def test_pytorch_that_gives_another_number_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch_simulator.simulate_torch

    def spoilt(*arguments: Any) -> Any:
        record = original(*arguments)
        for values in record.outputs.values():
            values[0, 7] += 0.01
        return record

    stand_in(monkeypatch)
    monkeypatch.setattr(torch_simulator, "simulate_torch", spoilt)
    assert all(row.torch == DIFFERS for row in table().values())
