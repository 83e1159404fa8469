"""Writes the tables of the pages that are of committed rows: ``python docs/tables.py``.

A table stands between ``<!-- python docs/tables.py, NAME -->`` and ``<!-- end of NAME -->``; NAME is a key of TABLES.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gshn.ablation import summary
from gshn.ablation.photographs import PHOTOGRAPHS

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


def lif_on_a_gpu() -> str:
    """The multi-step function on a GPU: times of a replayed CUDA graph and of one call, at two sizes."""
    own = rows("gpu")["sections"]["lif"]["rows"]
    sizes = ([16, 2048, 256], [16, 32768, 256])
    times: dict[tuple[str, int, str], float] = {}
    peaks: dict[str, float] = {}
    for row in own:
        if "milliseconds" in row and row.get("cache", "warm") == "warm" and row["what"] != "lif, kernel":
            times[row["what"], row["size"][1], row.get("subject", "")] = row["milliseconds"]
        if row["what"] == "lif, compared with the CPU" and row["size"] == sizes[1]:
            peaks[row["subject"]] = row["peak_mib_above_inputs"]
    copies = "copies: 1 read, 1 write; 2 reads, 1 write"
    subjects = {
        copies: copies,
        "": "2.5 copies of 1 read and 1 write",
        "ours": "**ours**",
        "torch.compile, loop": "torch.compile, loop",
        "torch.compile, whole sequence": "torch.compile, whole sequence (ours before)",
        "SpikingJelly 2.0.0, triton": "SpikingJelly 2.0.0, Triton",
        "SpikingJelly 2.0.0, cuda": "SpikingJelly 2.0.0, CUDA, compiled by nvcc",
        "SpikingJelly 2.0.0, torch": "SpikingJelly 2.0.0, torch",
        "SpikingJelly 0.0.0.0.14, cupy": "SpikingJelly 0.0.0.0.14, CuPy",
        "step loop": "step loop",
    }
    for how in ("lif, graph", "lif, eager, one"):
        for size in sizes:
            both = [times[how, size[1], kind] for kind in ("copy", "two reads and a write")]
            times[how, size[1], copies] = sum(both)
            times[how, size[1], ""] = (
                times.get(("lif, bound", size[1], ""), 0.0) if how == "lif, graph" else 2.5 * both[0]
            )
    body = []
    for subject, label in subjects.items():
        line = [label]
        for size in sizes:
            alone, one = (times.get((how, size[1], subject)) for how in ("lif, graph", "lif, eager, one"))
            line += (
                [""] * 2 if alone is None else [f"{alone:.3f}", f"{alone / times['lif, graph', size[1], copies]:.2f}"]
            )
            line.append("" if one is None else f"{one:.2f}")
        body.append([*line, f"{peaks[subject]:,.0f}" if subject in peaks else ""])
    columns = [text for size in sizes for text in (f"{size}: GPU alone, ms", "times copies", "one call, ms")]
    return table(["", *columns, "peak above inputs there, MiB"], body)


def inference() -> str:
    """Inference, features and segmentation on a GPU: images per second, energy and memory."""
    sections = rows("gpu")["sections"]
    labels = {
        "hybrid": "hybrid, graph and caption to embeddings, eval mode (spikes in float64)",
        "gat": "GAT only",
        "clip": "CLIP-style",
        "EfficientNet-Lite0": "EfficientNet-Lite0, {0} x {0}, float32",
        "scene graphs of ShapeScenes, segments given": (
            "scene graphs of ShapeScenes from drawn pictures, one process (`gshn.preprocess`)"
        ),
        "Mask2Former, 1.5 M, segmenting": "Mask2Former of 1.5 M parameters, {0} x {0}, pixels to segments",
        "Mask2Former with Swin, network alone, fp32": (
            "Mask2Former with Swin (69 M, random weights), {0} x {0}, network alone, float32"
        ),
        "Mask2Former with Swin, network alone, bf16": "the same, bfloat16",
    }
    body: list[list[str]] = []
    before = ""
    for row in [*sections["inference"]["rows"], *sections["vision"]["rows"]]:
        if "images_per_second" not in row:
            continue
        label = labels[row.get("variant") or row["what"]].format(row.get("image_size"))
        joules = row["joules_per_image"]
        batch = str(row.get("batch", ""))
        figures = [f"{row['images_per_second']:,.0f}", f"{joules:#.2g}", f"{row['peak_mib']:,.0f}"]
        body.append(["" if label == before else label, batch, *figures])
        before = label
    return table(["", "batch", "images/s", "J/image", "peak, MiB"], body)


def photographs(part: str) -> str:
    """The grid on photographs, on a part of the data: sums of the six recalls, and what the hybrid leads by."""
    return summary.summary(PHOTOGRAPHS, rows(f"photographs-{part}")).strip()


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "energy": ("energy-results.md", energy),
    "lif": ("speed.md", lif),
    "encoder": ("speed.md", encoder),
    "nir": ("speed.md", nir),
    "lava": ("speed.md", lava),
    "pretraining": ("speed.md", pretraining),
    "lif on a GPU": ("speed.md", lif_on_a_gpu),
    "inference": ("speed.md", inference),
    "grid on validation": ("photographs.md", lambda: photographs("validation")),
    "grid on test": ("photographs.md", lambda: photographs("test")),
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
