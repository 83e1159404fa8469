"""Our synapses beside Lava's own, value by value: latency, delays, exponents of either sign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import synapses_on_lava

from neuromorphic.lava.program import FIXED, FLOAT

pytestmark = pytest.mark.lava


@pytest.mark.parametrize("runtime", ["lean", "lava"])
@pytest.mark.parametrize("tag", [FLOAT, FIXED])
def test_ours_and_lavas_synapses_send_the_same(tag: str, runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "sent.npz"
    subprocess.run([sys.executable, synapses_on_lava.__file__, tag, runtime, str(path)], check=True, timeout=300)
    sent = np.load(path)
    x = synapses_on_lava.messages(tag)
    for name, taps, exponent in synapses_on_lava.cases(tag):
        expected = synapses_on_lava.expected(taps, exponent, x)
        assert expected.any()
        for who in ("ours", "stock"):
            np.testing.assert_array_equal(sent[f"{name}/{who}"], expected, err_msg=f"{name}, {who}")
        first_half = np.where(np.arange(len(x))[:, None] < len(x) // 2, x, 0)
        fed = synapses_on_lava.expected(taps, exponent, first_half)
        np.testing.assert_array_equal(sent[f"{name}/fed"], fed, err_msg=f"{name}, fed")
