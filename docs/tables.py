"""Prints the tables of docs/energy-results.md that are of committed rows: ``python docs/tables.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MODELS = ("cmos45-fp32", "cmos45-fp32-sram", "loihi1")


def name(row: dict[str, Any]) -> str:
    """What a checkpoint of docs/results/energy.json is."""
    if row["neuron"] == "relu":
        return "ReLU twin"
    _, is_target, target = row["checkpoint"].rpartition("rate")
    return f"T = {row['steps']}" + (f", target {target}" if is_target else "")


def number(joules: float) -> str:
    """Microjoules with two digits."""
    return f"{float(f'{1e6 * joules:.2g}'):g}"


def energy() -> str:
    """Accuracy and modelled energy of the spiking path alone, for each checkpoint."""
    lines = [f"| | firing rate | image to text / text to image R@1 | {' | '.join(MODELS)} |", "| --- " * 6 + "|"]
    rows = json.loads((RESULTS / "energy.json").read_text())
    for row in sorted(rows, key=lambda row: (row["neuron"] == "relu", "rate" in row["checkpoint"], row["steps"])):
        rate = "" if row["firing_rate"] is None else f"{row['firing_rate']:.3f}"
        recall = " / ".join(f"{100 * row['accuracy'][f'retrieval.{way}_r1']:.1f}" for way in ("i2t", "t2i"))
        spans = (row["joules_per_image"][model] for model in MODELS)
        cells = (f"{number(span['low'])} to {number(span['high'])}" for span in spans)
        lines.append(f"| {name(row)} | {rate} | {recall} % | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(energy())
