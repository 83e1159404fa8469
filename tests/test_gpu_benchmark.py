"""benchmarks/gpu.sh: what fails is told and the rest runs; every section in small, on the CPU."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import __main__ as script  # noqa: E402
from benchmarks.gpu.__main__ import finish, read  # noqa: E402
from benchmarks.gpu.measuring import Bench  # noqa: E402
from benchmarks.gpu.table import table  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("cpu", True, tmp_path, tmp_path / "rows.jsonl", None, time.monotonic() + 60)


def test_a_failure_is_a_row_and_the_next_measurement_runs(bench: Bench) -> None:
    def fail() -> dict[str, object]:
        raise MemoryError("too large\nmore of it")

    assert not bench.attempt(fail, what="training", batch=4096)
    assert bench.attempt(lambda: {"images_per_second": 3.0}, what="training", batch=8)
    failed, found = read(bench.rows)
    assert failed["error"] == "MemoryError: too large" and failed["batch"] == 4096
    assert found["images_per_second"] == 3.0


def test_throughput_counts_images(bench: Bench) -> None:
    seen: list[int] = []
    found = bench.throughput(lambda: seen.append(0), images=10, seconds=5.0)
    assert found["calls"] == len(seen) - 1 == 3  # one to warm up
    assert found["images_per_second"] > 0 and found["joules_per_image"] is None


def test_a_section_that_hangs_is_stopped() -> None:
    def start(code: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)

    assert finish(start("import time; time.sleep(600)"), 0.5) == "stopped after 0 s"
    assert finish(start("raise SystemExit(3)"), 60) == "ended with status 3"
    assert finish(start("pass"), 60) is None


def test_nothing_runs_beside_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(script, "environment", lambda device: {})
    monkeypatch.setattr(script, "start", lambda name, *rest: order.append(f"start {name}") or name)
    monkeypatch.setattr(script, "finish", lambda name, seconds: order.append(f"finish {name}"))
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--wheels", "w", "--only", "scenes", "lif"])
    script.main()
    assert order == [f"{what} {name}" for name in ("compile", "scenes", "lif") for what in ("start", "finish")]


def test_the_table_has_figures_and_failures() -> None:
    size = [16, 8, 16]
    lif = [
        {"what": "lif, eager", "size": size, "subject": "ours", "milliseconds": 1.25, "over_bound": 1.1},
        {"what": "lif, bound", "size": size, "cache": "cold", "milliseconds": 1.0, "gigabytes_per_second": 4000.0},
        {"what": "lif, captured", "size": size, "subject": "cupy", "error": "RuntimeError: not this one"},
    ]
    report = {"command": "benchmarks/gpu.sh", "environment": {"card": "none"}, "seconds": 1.0, "sections": {
        "lif": {"error": None, "rows": lif},
        "training": {"error": "stopped after 140 s", "rows": [
            {"what": "pretraining", "variant": "gat", "batch": 128, "images_per_second": 12345.6}]},
    }}  # fmt: skip
    text = table(report)
    assert "| ours |  | 1.25 | 1.1 |" in text and "bound, cold: 1 ms (4,000 GB/s)" in text
    assert "| pretraining | gat | 128 | 12,346 |" in text
    assert "- training: stopped after 140 s" in text and "RuntimeError: not this one" in text


@pytest.mark.slow
def test_every_section_runs_in_small(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    command += ["--only", "scenes", "vision", "training", "inference"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHON": sys.executable}, capture_output=True)
    report = json.loads((tmp_path / "gpu.json").read_text())
    rows = [row for own in report["sections"].values() for row in own["rows"]]
    assert [row for row in rows if "error" in row] == [] and all(not s["error"] for s in report["sections"].values())
    assert {row["variant"] for row in rows if row["what"] == "pretraining"} == {"hybrid", "gat", "clip"}
    for row in (row for row in rows if row["what"] == "pretraining"):
        parts = zip(row["milliseconds_making_each_batch"], row["milliseconds_of_each_new_step"], strict=True)
        expected = 1e3 * row["batch"] / statistics.median(map(sum, parts))
        assert row["images_per_second_with_making_batches"] == pytest.approx(expected, abs=0.1)
    assert "| pretraining | hybrid | 16 |" in (tmp_path / "gpu.md").read_text()
