"""Questions on NYU Depth v2: annotated segments beside learned ones, superpixels, boxes and patches.

    python -m benchmarks.nyu_segments --daquar DIR --weights DEEPLAB --out runs/nyu key=value ...
    python -m benchmarks.nyu_segments --report

DIR is DAQUAR with the maps ``labels13`` of its test photographs (docs/data.md). Its test questions are divided by
photograph into :data:`FOLDS` folds. For each of :data:`VARIANTS` and each fold, ``gshn.train`` trains a model on the
other folds, from nothing, and ``gshn.evaluate`` measures it on the fold. A tenth of the photographs of the other folds
is ``val``, to choose on. ``key=value`` holds for all variants. What is done is not done again. The rows go to
``docs/results/nyu_segments.jsonl``, one JSON object a line; ``--report`` makes the table of
``docs/photographs_tasks.md`` of them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.photographs_tasks import between, joined, read_rows
from gshn.ablation.run import Row
from gshn.ablation.summary import interval
from gshn.data.daquar import DAQUAR, LABELS
from gshn.errors import ConfigError
from neuromorphic.cli import run_command
from neuromorphic.files import write_atomically

ROWS = Path("docs/results/nyu_segments.jsonl")
PAGE = Path("docs/photographs_tasks.md")
BEGIN, END = "<!-- table of annotated segments -->", "<!-- end of the table of annotated segments -->"
FOLDS = 5
BASE = "annotated"
WEIGHTS = "WEIGHTS"
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    BASE: ("annotated segments", ("data.questions.segmenter=ground-truth",)),
    "boxes": ("boxes of annotated segments", ("data.questions.segmenter=ground-truth", "graph.regions=boxes")),
    "semantic": (
        "learned: DeepLab, superpixels in its background",
        ("data.questions.segmenter=semantic", f"data.questions.weights={WEIGHTS}"),
    ),
    "superpixels": ("superpixels", ("data.questions.segmenter=superpixels",)),
    "patches": ("3 x 3 patches", ("graph.regions=patches", "graph.patches=3")),
    "texts": ("texts only: all see one photograph", ("data.questions.segmenter=superpixels", "data.show=texts")),
}
"""Name -> what its nodes are, and what it changes in the config."""
SETTINGS = (
    "data.pairs.train=2",
    "data.pairs.test=2",
    "pretrain.steps=0",
    "finetune.tasks=[vqa]",
    "finetune.rehearsal=0",
    "finetune.steps=150",
    "finetune.warmup=20",
    "model.width=256",
    "model.spiking.width=256",
    "model.text.hidden=512",
)
"""Questions alone, without pretraining, so few that a small model is enough."""


def write_folds(daquar: Path, out: Path) -> None:
    """Write DAQUAR's test questions as one DAQUAR a fold, with the same photographs: ``out/K``.

    Raises:
        ConfigError: DAQUAR has no maps of labels.
    """
    if not (daquar / LABELS).is_dir():
        raise ConfigError(f"{daquar} has no folder {LABELS}, with the 13 classes of NYU Depth v2 (docs/data.md)")
    data = DAQUAR(daquar, "test")
    names = sorted(path.name for path in data.paths)
    random.Random(0).shuffle(names)
    for fold in range(FOLDS):
        rest = [name for place, name in enumerate(names) if place % FOLDS != fold]
        val = set(rest[: max(1, len(rest) // 10)])
        folder = out / str(fold)
        folder.mkdir(parents=True, exist_ok=True)
        lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for question in data.questions:
            name = data.paths[question.image_index].name
            split = "val" if name in val else "train" if name in rest else "test"
            row = {"image": name, "question": question.text, "answers": list(question.answers)}
            lines[split].append(json.dumps(row) + "\n")
        for split, own in lines.items():
            write_atomically(folder / f"qa_{split}.jsonl", "".join(own))
        for name, place in (("images", data.paths[0].parent), (LABELS, daquar / LABELS)):
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(place.resolve(), target_is_directory=True)


def run(variant: str, fold: int, arguments: argparse.Namespace) -> list[Row]:
    """Train and evaluate a variant on a fold; what is done is read."""
    folder: Path = arguments.out / variant / str(fold)
    changed = [word.replace(WEIGHTS, str(arguments.weights)) for word in VARIANTS[variant][1]]
    if not (folder / "metrics.json").is_file():
        source = [f"data.questions.source=daquar:{arguments.out / 'folds' / str(fold)}"]
        settings = [*SETTINGS, *source, *changed, *arguments.overrides]
        _python("gshn.train", "--config", "photographs_tasks", "--out", str(folder), "--resume", *settings)
    seconds = json.loads((folder / "metrics.json").read_text())["seconds"]
    rows = []
    for split in ("val", "test"):
        path = folder / f"vqa.{split}.json"
        if not path.is_file():
            _python(
                "gshn.evaluate", "--checkpoint", str(folder), "--task", "vqa", "--split", split, "--json", str(path)
            )
        value = json.loads(path.read_text())["vqa.accuracy"]
        rows.append(
            Row(variant=variant, task="vqa", split=split, seed=fold, metric="accuracy", value=value, seconds=seconds)
        )
    return rows


def _python(module: str, *arguments: str) -> None:
    if status := subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode:
        raise SystemExit(status)  # it has said why


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown: accuracy by variant, over folds, and the lead of annotated segments, paired by fold."""
    by: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        by.setdefault((row["variant"], row["split"]), {})[row["seed"]] = row["value"]
    lines = [
        "| nodes | folds | accuracy, val, % | accuracy, test, % | lead of annotated segments, test |",
        "| --- | --- | --- | --- | --- |",
    ]
    base = by.get((BASE, "test"), {})
    for variant, (label, _) in VARIANTS.items():
        own = by.get((variant, "test"), {})
        if not own:
            continue
        common = sorted(own.keys() & base.keys()) if variant != BASE else []
        lead = interval([base[fold] - own[fold] for fold in common]) if common else None
        shown = "" if lead is None else f"**{lead}**" if lead.is_clear_of_zero else str(lead)
        means = [str(interval(list(by[variant, split].values()))) for split in ("val", "test")]
        lines.append(f"| {' | '.join([label, str(len(own)), *means, shown])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for, and write the rows and the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.nyu_segments", description=__doc__)
    parser.add_argument("--daquar", type=Path, help="folder of DAQUAR, with labels13")
    parser.add_argument("--weights", type=Path, help="folder of the semantic segmentation network")
    parser.add_argument("--out", type=Path, default=Path("runs/nyu"))
    parser.add_argument("--folds", type=int, default=FOLDS, help="the first N of the folds")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--report", action="store_true", help="only make the table of the rows that are there")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    if not arguments.report:
        if arguments.daquar is None:
            parser.error("name the folder of DAQUAR: --daquar DIR")
        if "semantic" in arguments.variants and arguments.weights is None:
            parser.error("the variant semantic needs --weights; or name other --variants")
        write_folds(arguments.daquar, arguments.out / "folds")
        for fold in range(arguments.folds):
            for variant in arguments.variants:
                rows = joined(read_rows(ROWS), run(variant, fold, arguments))
                write_atomically(ROWS, "".join(json.dumps(row) + "\n" for row in rows))
    write_atomically(PAGE, between(PAGE.read_text(), BEGIN, END, table(read_rows(ROWS))))


if __name__ == "__main__":
    run_command(main)
