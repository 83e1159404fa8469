"""Questions and hypotheses on photographs: the model beside its baselines, over seeds.

    python -m benchmarks.photographs_tasks --out runs/photographs_tasks --seeds 3 key=value ...
    python -m benchmarks.photographs_tasks --report

Every variant of :data:`VARIANTS` is trained by ``gshn.train`` and evaluated on ``val``, to choose on, and on ``test``;
``key=value`` says where the data are, and holds for all of them. Runs that are done are not run again. The rows go to
``docs/results/photographs_tasks.jsonl``, one JSON object a line; ``--report`` makes the tables of
``docs/photographs_tasks.md`` of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gshn.ablation.run import Row
from gshn.ablation.summary import interval
from neuromorphic.files import write_atomically

ROWS = Path("docs/results/photographs_tasks.jsonl")
PAGE = Path("docs/photographs_tasks.md")
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
BASE = "hybrid"
VARIANTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    BASE: ("GSHN", "photographs_tasks", ()),
    "gat": ("GAT only", "photographs_tasks", ("model.spiking.enabled=false",)),
    "pooled": ("pooled: the whole image's features", "photographs_tasks_pooled", ()),
    "texts": ("texts only: all see one photograph", "photographs_tasks_pooled", ("data.show=texts",)),
    "images": ("images only: all texts are empty", "photographs_tasks_pooled", ("data.show=images",)),
}
"""Name -> what it is, its config, what it changes there."""
SILENT = "the same model, r = 0"
FIGURES = {
    "vqa": {"accuracy": "accuracy", "wups_0.9": "WUPS 0.9", "wups_0.0": "WUPS 0.0"},
    "entailment": {"accuracy": "accuracy"},
}
TITLES = {"vqa": "DAQUAR", "entailment": "SNLI-VE rows on Flickr8k's photographs"}


def run(variant: str, seed: int, out: Path, overrides: Sequence[str]) -> Iterator[Row]:
    """Train a variant with a seed and evaluate it; what is done already is read."""
    _, config, changed = VARIANTS[variant]
    folder = out / variant / str(seed)
    if not (folder / "metrics.json").is_file():
        train = ["gshn.train", "--config", config, "--out", str(folder), "--seed", str(seed), "--resume"]
        _python(*train, *changed, *overrides)
    seconds = json.loads((folder / "metrics.json").read_text())["seconds"]
    for task in FIGURES:
        for split in ("val", "test"):
            path = folder / f"{task}.{split}.json"
            if not path.is_file():
                paths = ["--paths"] if variant == BASE else []
                where = ["--checkpoint", str(folder), "--task", task, "--split", split, "--json", str(path)]
                # Photographs of the rows of val are among those of Flickr8k that are trained on, of test none.
                allowed = ["data.allow_overlap=true"] if (task, split) == ("entailment", "val") else []
                _python("gshn.evaluate", *where, *paths, *allowed)
            for key, value in json.loads(path.read_text()).items():
                silent = key.startswith("r0.")
                told, _, metric = key.removeprefix("r0.").partition(".")
                if told == task:
                    yield Row(
                        variant=f"{variant}-r0" if silent else variant, task=task, split=split, seed=seed,
                        metric=metric, value=value, seconds=seconds,
                    )  # fmt: skip


def _python(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, one a line; none where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def joined(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Old rows and new ones; a new one takes the place of the old one of the same figure, in its order."""
    rows = {tuple(row[key] for key in ("variant", "task", "split", "seed", "metric")): row for row in [*old, *new]}  # type: ignore[literal-required]
    return list(rows.values())


def tables(rows: Sequence[Row]) -> str:
    """Rows as Markdown: a table for each task, with the lead of GSHN in accuracy, paired by seed."""
    parts = []
    for task, figures in FIGURES.items():
        head = ["", "seeds", *(f"{name}, {split}" for split in ("val", "test") for name in figures.values())]
        lines = [[TITLES[task] + ", %", *head[1:], "lead of GSHN in accuracy, test"]]
        for variant, label in _labels():
            found = {
                (split, metric): {
                    row["seed"]: row["value"]
                    for row in rows
                    if (row["variant"], row["task"], row["split"], row["metric"]) == (variant, task, split, metric)
                }
                for split in ("val", "test")
                for metric in figures
            }
            if not any(found.values()):
                continue
            base = {
                row["seed"]: row["value"]
                for row in rows
                if (row["variant"], row["task"], row["split"], row["metric"]) == (BASE, task, "test", "accuracy")
            }
            own = found["test", "accuracy"]
            common = sorted(base.keys() & own.keys()) if variant != BASE else []
            lead = interval([base[seed] - own[seed] for seed in common]) if common else None
            shown = "" if lead is None else f"**{lead}**" if lead.is_clear_of_zero else str(lead)
            cells = [str(interval(list(values.values()))) if values else "" for values in found.values()]
            lines.append([label, str(max(map(len, found.values()))), *cells, shown])
        if len(lines) == 1:
            continue
        lines.insert(1, ["---"] * len(lines[0]))
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join(parts)


def _labels() -> Iterator[tuple[str, str]]:
    for variant, (label, _, _) in VARIANTS.items():
        yield variant, label
        if variant == BASE:
            yield f"{BASE}-r0", SILENT


def between(page: str, begin: str, end: str, text: str) -> str:
    """A page with a text between its two marks."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}"


def main() -> None:
    """Run what is asked for, and write the rows and the tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.photographs_tasks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/photographs_tasks"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--report", action="store_true", help="only make the tables of the rows that are there")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    if not arguments.report:
        for seed in range(arguments.seeds):
            for variant in arguments.variants:
                rows = joined(read_rows(ROWS), list(run(variant, seed, arguments.out, arguments.overrides)))
                write_atomically(ROWS, "".join(json.dumps(row) + "\n" for row in rows))
    write_atomically(PAGE, between(PAGE.read_text(), BEGIN, END, tables(read_rows(ROWS))))


if __name__ == "__main__":
    main()
