import platform
import subprocess
import sys

import pytest

from gshn.training.memory import VARIABLES, keep_freed_memory

FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "kept":
    from gshn.training.memory import keep_freed_memory
    assert keep_freed_memory()
for _ in range(3):
    np.zeros(2**24) + 1
begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.zeros(2**24) + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only of the GNU C library")
def test_pages_are_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    faults = {
        way: int(subprocess.run([sys.executable, "-c", FAULTS, way], check=True, capture_output=True).stdout)
        for way in ("freed", "kept")
    }
    assert faults["kept"] < faults["freed"] / 5


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not keep_freed_memory()
