"""What the benchmarks share: candidates in turn, medians, ratios to ours, rows."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

OURS = "ours"


class Row(TypedDict):
    """One figure: ``ratio`` is the subject's time over ours, so that above 1 the subject is slower."""

    benchmark: str
    subject: str
    seconds: float
    ratio: float


def medians(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each call; all take their turn in every round, after one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if k:
                spent[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in spent.items()}


def rows(benchmark: str, seconds: Mapping[str, float], ours: str = OURS) -> list[Row]:
    """Rows of a benchmark."""
    return [
        Row(benchmark=benchmark, subject=name, seconds=own, ratio=own / seconds[ours]) for name, own in seconds.items()
    ]


def show(title: str, found: list[Row]) -> None:
    """Print rows."""
    table = Table("benchmark", "subject", title=title, title_justify="left")
    table.add_column("ms", justify="right")
    table.add_column("times ours", justify="right")
    for row in found:
        table.add_row(row["benchmark"], row["subject"], f"{1e3 * row['seconds']:.2f}", f"{row['ratio']:.2f}")
    Console().print(table)


def run(doc: str | None, measure: Callable[[int], list[Row]]) -> None:
    """Parse ``--rounds`` and ``--json``, measure, print, write."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    show((doc or "").splitlines()[0], found)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
