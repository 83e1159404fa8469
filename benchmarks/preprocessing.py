"""Images per second of ``gshn.preprocess`` with one process and with two, and the memory that it and reading take.

    python -m benchmarks.preprocessing --images 10000 --json preprocessing.json

Every process has one thread. ``images/s`` is over the time that the command itself states, without imports. Memory is
the proportional set size of the processes, sampled every half a second: its largest value in each fifth of the run.
Reading goes through all shards in training's order, in batches of 128, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

FIFTHS = 5

READING = """
import sys
from pathlib import Path
import numpy as np
from gshn.graphs.shards.files import to_dataset
from gshn.graphs.shards.index import read_index
from gshn.graphs.shards.stream import ShardStream
stream = ShardStream(read_index(Path(sys.argv[1])))
order = stream.order(np.random.default_rng(0)).tolist()
for start in range(0, len(order), 128):
    stored = stream.fetch(order[start : start + 128])
    to_dataset(stored).batch(range(len(stored)))
"""


def run(commands: list[list[str]], environments: list[dict[str, str]]) -> tuple[float, list[float], str]:
    """Run commands at a time: their seconds, largest memory in each fifth of the time (MB), and output."""
    begun = time.monotonic()
    processes = [
        subprocess.Popen(c, env={**os.environ, "OMP_NUM_THREADS": "1", **e}, stdout=subprocess.PIPE, text=True)
        for c, e in zip(commands, environments, strict=True)
    ]
    samples: list[tuple[float, float]] = []
    while any(process.poll() is None for process in processes):
        memory = 0.0
        for process in processes:
            with suppress(psutil.Error):  # it has just ended
                memory += psutil.Process(process.pid).memory_full_info().pss / 1e6
        samples.append((time.monotonic() - begun, memory))
        time.sleep(0.5)
    seconds = time.monotonic() - begun
    output = "".join(process.stdout.read() for process in processes if process.stdout)
    if any(process.returncode for process in processes):
        raise SystemExit(f"a command failed: {commands[0]}")
    fifths = [[m for t, m in samples if int(FIFTHS * t / seconds) == k] for k in range(FIFTHS)]
    return seconds, [round(max(part, default=0.0), 1) for part in fifths], output


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--data", default="shapescenes", help="as of gshn.preprocess")
    parser.add_argument("--segmenter", default="ground-truth", help="as of gshn.preprocess")
    parser.add_argument("--image-size", type=int, default=96, help="as of gshn.preprocess")
    parser.add_argument("--shard-size", type=int, default=250, help="as of gshn.preprocess")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2):
            out = Path(folder) / str(processes)
            command = [sys.executable, "-m", "gshn.preprocess", "--data", arguments.data, "--split", "train"]
            command += ["--segmenter", arguments.segmenter, "--limit", str(arguments.images), "--out", str(out)]
            command += ["--image-size", str(arguments.image_size), "--shard-size", str(arguments.shard_size)]
            environments = [{"RANK": str(rank), "WORLD_SIZE": str(processes)} for rank in range(processes)]
            _, memory, output = run([command] * processes, environments)
            seconds = max(float(value) for value in re.findall(r"(\d+) s\b", output))
            rows.append({"what": f"writing, {processes} process(es)", "seconds": seconds, "memory_mb": memory})
        seconds, memory, _ = run([[sys.executable, "-c", READING, str(out / "train")]], [{}])
        rows.append({"what": "reading, with imports", "seconds": round(seconds, 1), "memory_mb": memory})
    for row in rows:
        row["images_per_second"] = round(arguments.images / max(row["seconds"], 1), 1)  # whole seconds, of a few 0
        print(f"{row['what']:24} {row['images_per_second']:8} images/s   MB in each fifth: {row['memory_mb']}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
