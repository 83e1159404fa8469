"""The support table tries what it says."""

from __future__ import annotations

import pytest

from neuromorphic.conversion import support
from neuromorphic.conversion.support import primitives, row, support_table
from neuromorphic.errors import UnsupportedGraphError
from neuromorphic.graph import GRADED, LINEAR, PARAMETERS


def test_every_primitive_is_there() -> None:
    names = primitives()
    assert {kind.__name__ for kind in (*LINEAR, *PARAMETERS)} | {"Delay", "Input", "Output"} <= set(names)
    assert len(names) == len(set(names))


def test_rows_say_what_the_compiler_makes_of_a_primitive() -> None:
    assert row("LIF").lava_float == "LIF" and row("LIF, reset by subtraction").lava_float == "a process of ours"
    assert row("Delay").lava_float == "delays of synapses" and row("Conv2d").lava_float == "synapses"
    for name in primitives():
        assert row(name).loihi2.startswith("no:") == (name in GRADED or "subtraction" in name)
    assert {cell for name in ("LIF", "CubaLIF", "Affine") for cell in (row(name).torch, row(name).lava_fixed)} == {
        "yes"
    }


def test_what_is_refused_or_differs_is_not_called_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedGraphError("no")

    monkeypatch.setattr(support, "quantize", refuse)
    assert row("LIF").lava_fixed == "no" and row("LIF").lava_float == "LIF"
    original = support.populations.run
    monkeypatch.setattr(support.populations, "run", lambda network, x: silent(original(network, x)))
    assert row("LIF").lava_float == "differs"
    assert "differs" in support_table()


def silent(run: object) -> object:
    for values in run.sent.values():
        values[:] = 0
    return run
