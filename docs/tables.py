"""Writes the tables of docs/energy-results.md and docs/speed.md that are of committed rows: ``python docs/tables.py``.

A table stands between ``<!-- python docs/tables.py, NAME -->`` and ``<!-- end of NAME -->``; NAME is a key of TABLES.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
MODELS = ("cmos45-fp32", "cmos45-fp32-sram", "loihi1")


def rows(name: str) -> Any:
    """What docs/results/NAME.json holds."""
    return json.loads((DOCS / "results" / f"{name}.json").read_text())


def table(head: list[str], body: Iterable[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))


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
    body = []
    order = sorted(rows("energy"), key=lambda row: (row["neuron"] == "relu", "rate" in row["checkpoint"], row["steps"]))
    for row in order:
        rate = "" if row["firing_rate"] is None else f"{row['firing_rate']:.3f}"
        recall = " / ".join(f"{100 * row['accuracy'][f'retrieval.{way}_r1']:.1f}" for way in ("i2t", "t2i"))
        spans = (row["joules_per_image"][model] for model in MODELS)
        cells = [f"{number(span['low'])} to {number(span['high'])}" for span in spans]
        body.append([name(row), rate, f"{recall} %", *cells])
    return table(["", "firing rate", "image to text / text to image R@1", *MODELS], body)


def benchmark(what: str) -> dict[str, dict[str, Any]]:
    """Rows of a benchmark in docs/results/speed.json, by subject, in the order in which they ran."""
    return {row["subject"]: row for row in rows("speed") if row["benchmark"] == what}


def ratios(heads: dict[str, str], corner: str = "", ours: str = "ours", scale: str = "ms") -> str:
    """Times of several benchmarks beside each other, each with its ratio to ours.

    Args:
        heads: What stands above each benchmark's times.
        corner: What stands above the subjects.
        ours: What our subject is called.
        scale: ``ms`` has two digits after the point, ``s`` four, for the first benchmark; the others are in ms.
    """
    columns = [benchmark(what) for what in heads]
    body = []
    for subject in columns[0]:
        line = [ours if subject == "ours" else subject]
        for k, column in enumerate(columns):
            row = column.get(subject)
            if row is None:
                line += ["", ""]
                continue
            seconds = row["seconds"]
            line += [f"{seconds:.4f}" if scale == "s" and k == 0 else f"{1e3 * seconds:.2f}", f"{row['ratio']:.2f}"]
        body.append(line)
    return table([corner, *(cell for head in heads.values() for cell in (head, "times ours"))], body)


def lif() -> str:
    """The multi-step function against the step loops of other packages."""
    heads = {f"lif, T = {steps}, cpu": f"T = {steps}, ms" for steps in (8, 16)}
    return ratios(heads, "[T, 2048, 256], float32, forward and backward")


def nir() -> str:
    """A NIR graph in PyTorch, by each importer."""
    return ratios({f"NIR graph, {dtype}": f"{dtype}, ms" for dtype in ("float32", "float64")})


def lava() -> str:
    """An image on Lava, by how many are packed."""
    heads = {"Lava, whole, an image": "whole, s", "Lava, steps, an image": "steps alone, ms"}
    return ratios(heads, ours="64 packed (ours)", scale="s")


def encoder() -> str:
    """The encoder's paths over each of its sizes."""
    body = []
    for what in dict.fromkeys(row["benchmark"] for row in rows("speed") if row["benchmark"].startswith("encoder, ")):
        own = benchmark(what)
        times = [f"{1e3 * own[path]['seconds']:.1f}" for path in ("hybrid", "gat", "spiking")]
        body.append([what.removeprefix("encoder, "), *times, f"{own['spiking']['ratio']:.2f}"])
    return table(["", "hybrid, ms", "GAT, ms", "spiking, ms", "spiking over GAT"], body)


def pretraining() -> str:
    """Pretraining on a GPU: images per second, energy and memory, by batch size. A star: other work ran meanwhile."""
    paths = {"gat": "GAT only", "clip": "CLIP-style", "hybrid": "hybrid"}
    head = ["batch"]
    for path in paths.values():
        head += [f"{path}, alone", "loop", "J", "peak, MiB"]
    by_batch: dict[int, dict[str, Any]] = {}
    for row in rows("gpu")["sections"]["training"]["rows"]:
        if row["what"] == "pretraining":
            by_batch.setdefault(row["batch"], {})[row["variant"]] = row
    body = []
    for batch, own in by_batch.items():
        line = [f"{batch:,}"]
        for path in paths:
            row = own[path]
            loop = f"{row['images_per_second_with_making_batches']:,.0f}{'*' if batch <= 512 else ''}"
            line += [f"{row['images_per_second']:,.0f}", loop, f"{row['joules_per_image']:.3f}"]
            line.append(f"{row['peak_mib']:,.0f}")
        body.append(line)
    return table(head, body)


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "energy": ("energy-results.md", energy),
    "lif": ("speed.md", lif),
    "encoder": ("speed.md", encoder),
    "nir": ("speed.md", nir),
    "lava": ("speed.md", lava),
    "pretraining": ("speed.md", pretraining),
}
"""The page and the maker of each table."""


def main(folder: Path) -> None:
    """Write every table into its page in the folder."""
    for key, (page, make) in TABLES.items():
        path = folder / page
        begin, end = f"<!-- python docs/tables.py, {key} -->\n", f"<!-- end of {key} -->"
        before, mark, rest = path.read_text().partition(begin)
        assert mark and end in rest, f"{path}: no marks for {key}"
        path.write_text(f"{before}{begin}{make()}\n{rest[rest.index(end) :]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
