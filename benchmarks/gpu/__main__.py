"""Every section in a process of its own, each with its own time; what they measured as a JSON and a Markdown table.

A section that fails, hangs or runs out of memory leaves the rows that it had and its error; the others run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.table import table

SECONDS = {"compile": 150, "scenes": 60, "vision": 65, "lif": 130, "training": 200, "inference": 45}
"""Time of each section at most, on a GPU; no section takes another's."""
SECTIONS = tuple(SECONDS)[1:]
PACKAGES = ("torch", "triton", "transformers", "torch-geometric", "accelerate", "spikingjelly", "numpy")


def environment(device: str) -> dict[str, Any]:
    """The card and the versions."""
    import torch

    found: dict[str, Any] = {"python": platform.python_version()}
    for package in (*PACKAGES, "cupy-cuda13x", "cupy-cuda12x"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if device == "cuda":
        own = torch.cuda.get_device_properties(0)
        found |= {"card": own.name, "multiprocessors": own.multi_processor_count, "cuda": torch.version.cuda}
        found |= {"memory_gib": round(own.total_memory / 2**30, 1), "l2_mib": own.L2_cache_size / 2**20}
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found["driver"] = done.stdout.strip()
    return found


def section(name: str, arguments: argparse.Namespace) -> None:
    """Run one, in this process."""
    from benchmarks.gpu import learning, neurons, vision
    from benchmarks.gpu.measuring import Bench
    from benchmarks.gpu.spikingjelly import compile_cuda

    ends = time.monotonic() + SECONDS[name]
    bench = Bench(arguments.device, arguments.quick, arguments.work, arguments.rows, arguments.wheels, ends)
    if name == "compile":
        bench.attempt(lambda: {"files": compile_cuda(arguments.wheels)}, what="SpikingJelly's CUDA kernels")
        return
    own = {"scenes": learning.scenes, "vision": vision.run, "lif": neurons.run}
    (own | {"training": learning.training, "inference": learning.inference})[name](bench)


def start(name: str, arguments: argparse.Namespace, work: Path, rows: Path) -> subprocess.Popen[bytes]:
    """A section's process."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", name, "--work", str(work), "--rows", str(rows)]
    command += ["--device", arguments.device, *(["--quick"] if arguments.quick else [])]
    command += ["--wheels", str(arguments.wheels)] if arguments.wheels else []
    return subprocess.Popen(command, start_new_session=True)


def finish(process: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Wait; what went wrong, if anything did."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {seconds:.0f} s"
    return f"ended with status {code}" if code else None


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a section."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs; figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    parser.add_argument("--wheels", type=Path, help="folder of SpikingJelly's other versions")
    for name in ("section", "work", "rows"):
        parser.add_argument(f"--{name}", type=str if name == "section" else Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section is not None:
        section(arguments.section, arguments)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    report: dict[str, Any] = {
        "command": "benchmarks/gpu.sh " + " ".join(sys.argv[1:]),
        "quick": arguments.quick,
        "environment": environment(arguments.device),
        "sections": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows = {name: work / f"{name}.jsonl" for name in ("compile", *arguments.only)}
        if "lif" in arguments.only and arguments.wheels and arguments.device == "cuda":
            # Not beside the others: most figures wait for the host, and batches took twice as long to make beside nvcc.
            finish(start("compile", arguments, work, rows["compile"]), SECONDS["compile"])
        for name in arguments.only:
            started = time.monotonic()
            error = finish(start(name, arguments, work, rows[name]), SECONDS[name] * (6 if arguments.quick else 1))
            report["sections"][name] = {
                "seconds": round(time.monotonic() - started, 1),
                "error": error,
                "rows": read(rows[name]),
            }
            report["seconds"] = round(time.monotonic() - begun, 1)
            report["compiled"] = read(rows["compile"])
            (arguments.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
            (arguments.out / "gpu.md").write_text(table(report))
    print((arguments.out / "gpu.md").read_text())


if __name__ == "__main__":
    main()
