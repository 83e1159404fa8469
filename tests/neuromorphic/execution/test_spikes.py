"""Spike records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neuromorphic.errors import UserError
from neuromorphic.execution.spikes import Difference, compare, save_arrays


def test_saved_spikes_come_back(tmp_path: Path) -> None:
    spikes = {"a.png/lif_0": np.eye(3, dtype=bool), "a.png/lif_1": np.zeros((3, 0), bool)}
    save_arrays(tmp_path / "new" / "spikes.npz", spikes)
    with np.load(tmp_path / "new" / "spikes.npz") as file:
        assert sorted(file) == sorted(spikes)
        for name, record in spikes.items():
            np.testing.assert_array_equal(file[name], record)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["spikes.npz"]


def test_an_unwritable_folder_is_one_error() -> None:
    with pytest.raises(UserError, match="cannot be written"):
        save_arrays(Path("/proc/none/spikes.npz"), {})


def test_agreement_counts_cells_and_finds_the_earliest_difference() -> None:
    a = [np.zeros((4, 3), bool), np.zeros((4, 2), bool)]
    b = [record.copy() for record in a]
    assert compare(a, b).fraction == 1.0 and compare(a, b).first_difference is None
    b[0][3, 0] = b[1][2, 1] = True
    agreement = compare(a, b)
    assert (agreement.equal, agreement.cells) == (18, 20)
    assert agreement.first_difference == Difference(step=2, record=1, neuron=1)
    with pytest.raises(ValueError, match="shapes"):
        compare(a, b[::-1])
