"""Whatever happens to a run on Lava: one error that names the culprit, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenarios import SCENARIOS, reference_spikes

from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.network import Levels
from neuromorphic.errors import LavaRunError
from neuromorphic.graph import flatten
from neuromorphic.lava import progress, run
from neuromorphic.lava.progress import (
    COMPUTING,
    PID,
    RECEIVING,
    STARTING,
    STATE,
    STEP,
    WAITING,
    Progress,
    describe,
    state_of,
)
from neuromorphic.lava.run import run_network

pytestmark = pytest.mark.lava
ONE = SCENARIOS["random_0"]
SMALL = lower(flatten(ONE.graph))
LONG = np.zeros((300_000, ONE.x.shape[1]))
DEADLINE, LONG_ENOUGH = 12.0, 24 * 3600.0
"""Seconds of a deadline that passes when a test says so, and of one that never does."""
PARENT = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from test_life_cycle import LONG, SMALL, run_network
run_network(SMALL, {{"input": LONG}})
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary files and the environment mark what belongs to a test: other tests may run beside it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def processes(folder: Path) -> dict[int, str]:
    """Ids and names of all processes but this one that were started from this test, and are no zombies."""
    out = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "environ").read_bytes() and int(path.name) != os.getpid():
                out[int(path.name)] = (path / "stat").read_text()
        except OSError:
            continue
    return {pid: stat for pid, stat in out.items() if stat.rpartition(")")[2].split()[0] != "Z"}


def wait_until(condition: Callable[[], object]) -> None:
    """However long it takes: pytest's own limit ends what hangs."""
    while not condition():
        time.sleep(0.05)


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The deadline of :data:`DEADLINE` seconds passes when this is set, whatever the machine's clock says."""
    passed = threading.Event()

    class Child(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if timeout != DEADLINE:
                return super().wait(timeout)
            while not passed.wait(0.05):
                if self.poll() is not None:
                    return self.returncode
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(progress, "HANG_SECONDS", LONG_ENOUGH)
    return passed


def nothing_left(folder: Path) -> bool:
    return not processes(folder) and not list(folder.glob("neuromorphic-lava-*"))


def shared_memory_of(folder: Path) -> list[str]:
    """Shared memory with a name that a test's processes have."""
    maps = [Path(f"/proc/{pid}/maps") for pid in processes(folder)]
    return [line for path in maps for line in path.read_text().splitlines() if "/dev/shm/psm" in line]


def pid_of(folder: Path, name: str) -> int:
    """Id of the process of a Lava process in the run that is under way, once it has made some steps."""
    found: list[int] = []

    def look() -> bool:
        for run_folder in folder.glob("neuromorphic-lava-*"):
            if (run_folder / "names.json").exists():
                seen = Progress(run_folder)
                row = seen.names.index(name)
                if seen.rows[row, STEP] > 10:
                    found.append(seen.rows[row, PID])
        return bool(found)

    wait_until(look)
    return found[0]


def test_a_process_model_that_raises_is_named(tmp_path: Path) -> None:
    broken = replace(SMALL.populations[1], bias=Levels((0,), np.ones((1, SMALL.populations[1].size))))
    broken = replace(broken, dv=np.ones(broken.size - 1) / 2)
    network = replace(SMALL, populations=(SMALL.populations[0], broken, *SMALL.populations[2:]))
    with pytest.raises(LavaRunError, match=r"^Lava failed: 'lif_1' raised ValueError: operands .*") as caught:
        run_network(network, {"input": ONE.x}, deadline=LONG_ENOUGH)
    assert "\n" not in str(caught.value)
    assert "Traceback" in "".join(caught.value.__notes__)
    wait_until(lambda: nothing_left(tmp_path))


def test_a_process_that_is_stopped_is_named_at_the_deadline(tmp_path: Path, deadline: threading.Event) -> None:
    def stop() -> None:
        pid = pid_of(tmp_path, "lif_1")
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) == "T")
        deadline.set()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(LavaRunError, match=r"did not end within 12 s and was stopped: the process of 'lif_1' is stop"):
        run_network(SMALL, {"input": LONG}, deadline=DEADLINE)
    wait_until(lambda: nothing_left(tmp_path))


def test_a_slow_run_is_told_from_one_that_hangs(tmp_path: Path, deadline: threading.Event) -> None:
    def under_way() -> None:
        pid_of(tmp_path, "lif_1")
        deadline.set()

    threading.Thread(target=under_way, daemon=True).start()
    with pytest.raises(LavaRunError, match=r"had got to step \d+ of 300003; allow more, or run less"):
        run_network(SMALL, {"input": LONG}, deadline=DEADLINE)
    wait_until(lambda: nothing_left(tmp_path))


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_is_named(tmp_path: Path, kind: signal.Signals) -> None:
    threading.Thread(target=lambda: os.kill(pid_of(tmp_path, "lif_1"), kind), daemon=True).start()
    with pytest.raises(LavaRunError, match=rf"Lava failed: the process of 'lif_1' died by signal {int(kind)}\n"):
        run_network(SMALL, {"input": LONG}, deadline=LONG_ENOUGH)
    wait_until(lambda: nothing_left(tmp_path))


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_when_the_parent_is_interrupted_or_killed_nothing_is_left(tmp_path: Path, kind: signal.Signals) -> None:
    script = PARENT.format(tests=str(Path(__file__).parents[1])).replace(
        "from test_life", f"sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_life"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        start_new_session=True,
        stderr=subprocess.PIPE,
        # What a shell starts in the background ignores SIGINT, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pid_of(tmp_path, "lif_1")
    assert len(processes(tmp_path)) > 5 and not shared_memory_of(tmp_path)
    os.killpg(parent.pid, kind)
    _, stderr = parent.communicate()
    assert kind == signal.SIGKILL or b"KeyboardInterrupt" in stderr
    wait_until(lambda: nothing_left(tmp_path))


def test_runs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    expected = reference_spikes(ONE.graph, ONE.x)["lif_2"]
    got: list[np.ndarray] = []

    def once() -> None:
        got.append(run_network(SMALL, {"input": ONE.x}, deadline=LONG_ENOUGH).sent["lif_2"])

    threads = [threading.Thread(target=once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 2
    for spikes in got:
        np.testing.assert_array_equal(spikes, expected)
    wait_until(lambda: nothing_left(tmp_path))


def test_what_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that computes and does not get on, others that wait for its message or their next step."""
    rows = Progress(tmp_path, ["service", "a", "b", "c"]).rows
    rows[1, STATE], rows[2, STATE], rows[3, STATE] = COMPUTING, RECEIVING, WAITING
    rows[0, STATE] = WAITING
    for row in (1, 2, 3):
        rows[row, STEP] = 7
    monkeypatch.setattr(progress, "HANG_SECONDS", 0.0)
    assert describe(tmp_path, os.getpid(), 20) == "'a' hangs in step 7 of 20"
    rows[2, STATE] = STARTING
    assert describe(tmp_path, os.getpid(), 20) == "'b' has not started"


def test_a_step_that_takes_its_time_is_not_taken_for_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, looks = Progress(tmp_path, ["service", "a"]).rows, []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 30:
            rows[1, STEP] = 8

    rows[1, STATE], rows[1, STEP] = COMPUTING, 7
    monkeypatch.setattr(progress, "HANG_SECONDS", LONG_ENOUGH)
    monkeypatch.setattr(progress.time, "sleep", look)
    assert describe(tmp_path, os.getpid(), 20) == "it had got to step 8 of 20; allow more, or run less"


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def check_runs(count: int, folder: Path) -> tuple[int, int]:
    """Runs in a row: same spikes, same descriptors, no process, folder or named memory; resident memory within 8 MB."""
    expected = reference_spikes(ONE.graph, ONE.x)["lif_2"]
    run_network(SMALL, {"input": ONE.x}, deadline=LONG_ENOUGH)
    descriptors, before = len(list(Path("/proc/self/fd").iterdir())), resident()
    for _ in range(count):
        sent = run_network(SMALL, {"input": ONE.x}, deadline=LONG_ENOUGH).sent["lif_2"]
        np.testing.assert_array_equal(sent, expected)
        wait_until(lambda: nothing_left(folder))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    print(f"{count} runs: {descriptors} descriptors, {before / 1e6:.1f} MB before, {resident() / 1e6:.1f} MB after")
    assert resident() - before < 8e6
    return before, resident()


def test_5_runs_leave_nothing(tmp_path: Path) -> None:
    check_runs(5, tmp_path)


@pytest.mark.slow
def test_100_runs_leave_nothing(tmp_path: Path) -> None:
    check_runs(100, tmp_path)


def test_the_deadline_counts_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CHILD", "import time; time.sleep(86400)")
    with pytest.raises(LavaRunError, match=r"within 0\.5 s and was stopped: it was importing Lava and building"):
        run_network(SMALL, {"input": ONE.x}, deadline=0.5)
    wait_until(lambda: nothing_left(tmp_path))
