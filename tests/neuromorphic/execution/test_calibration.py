"""Scales are tried on the integers, and given more room where a register overflows."""

from __future__ import annotations

import nir
import numpy as np
import pytest
from scenarios import chain

from neuromorphic.compiler import quantize as module
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.quantize import quantize
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.populations import run
from neuromorphic.graph import flatten


def test_what_overflows_is_given_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of what was observed: too little on purpose.
    monkeypatch.setattr(module, "HEADROOM", 0.5)
    network = lower(flatten(chain(nir.Linear(np.full((1, 1), -50.0)), nir.IF(*(np.ones(1),) * 2, np.zeros(1)))))
    x = {"input": np.ones((40, 1))}
    ranges = run(network, x).ranges
    assert run(quantize(network, ranges), x).overflow["lif_0"].saturated > 0
    found = calibrate(network, x)
    assert not found.run.overflow["lif_0"].any
    assert found.ranges.potential["lif_0"] > ranges.potential["lif_0"]
    # The ranges say how to come to the same scales again; those that are given are taken as they are.
    again = calibrate(network, x, found.ranges)
    np.testing.assert_array_equal(again.network.population("lif_0").scale, found.network.population("lif_0").scale)
    assert calibrate(network, x, ranges).run.overflow["lif_0"].saturated > 0
