"""Programs survive the way through a folder to the child that runs Lava."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from random_graphs import random_graph
from scipy import sparse

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.operators import Kron, expanded
from neuromorphic.compiler.quantize import quantize
from neuromorphic.compiler.schedule import schedule
from neuromorphic.execution import populations
from neuromorphic.graph import flatten
from neuromorphic.lava.folder import load, save


def test_networks_and_schedules_come_back(tmp_path: Path) -> None:
    graph, x = random_graph(5)
    network = lower(flatten(graph))
    fixed = quantize(network, populations.run(network, {name: values[0] for name, values in x.items()}).ranges)
    for name, value in {"float": network, "fixed": fixed}.items():
        save(tmp_path, {"network": value, "plan": schedule(value), "steps": 3}, name)
        back = load(tmp_path, name)
        assert back["plan"] == schedule(value) and back["steps"] == 3
        loaded = back["network"]
        assert type(loaded) is type(value) and loaded.dt == value.dt and dict(loaded.inputs) == dict(value.inputs)
        for ours, theirs in zip(loaded.populations, value.populations, strict=True):
            assert type(ours) is type(theirs) and (ours.name, ours.kind, ours.shape) == (
                theirs.name,
                theirs.kind,
                theirs.shape,
            )
            assert ours.bias.start == theirs.bias.start
            np.testing.assert_array_equal(ours.bias.values, theirs.bias.values)
            for field in fields(ours):
                if isinstance(getattr(theirs, field.name), np.ndarray):
                    np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name))
        for ours, theirs in zip(loaded.projections, value.projections, strict=True):
            assert (ours.source, ours.target, ours.identity) == (theirs.source, theirs.target, theirs.identity)
            np.testing.assert_array_equal(getattr(ours, "weight_exp", 0), getattr(theirs, "weight_exp", 0))
            for delay, operator in theirs.taps.items():
                np.testing.assert_array_equal(expanded(ours.taps[delay], 0).toarray(), expanded(operator, 0).toarray())


def test_kronecker_products_stay_apart(tmp_path: Path) -> None:
    kron = Kron(sparse.csr_matrix(np.eye(3)), np.arange(6.0).reshape(2, 3))
    save(tmp_path, kron)
    back = load(tmp_path)
    assert isinstance(back, Kron)
    np.testing.assert_array_equal(back.expand().toarray(), kron.expand().toarray())


def test_what_has_no_place_in_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set has no place"):
        save(tmp_path, {"x": {1, 2}})
