"""Training and evaluating the cells of the grid, each a variant with a seed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypedDict

from tqdm import tqdm

from gshn.ablation.grid import Grid, Variant
from gshn.config import Config, differences, load_config
from gshn.errors import ConfigError, DataError
from neuromorphic.files import write_atomically


class Row(TypedDict):
    """One figure of one run. ``value`` is a fraction (``rsum`` is a sum of six), ``seconds`` the time of its
    training."""

    variant: str
    task: str
    split: str
    seed: int
    metric: str
    value: float
    seconds: float


@dataclass(frozen=True)
class Cell:
    """A variant of a grid with a seed, and the folder of its run."""

    grid: Grid
    variant: Variant
    seed: int
    folder: Path

    def rows(self, part: str) -> Path:
        """File of its rows on one of :data:`gshn.ablation.grid.PARTS`, which is there when it is done."""
        return self.folder / f"{part}.json"


def cells(grid: Grid, names: Iterable[str], seeds: int, out: Path) -> list[Cell]:
    """All cells of these variants, seed by seed, so that an interrupted grid has whole seeds."""
    variants = [grid.by_name[name] for name in names]
    return [Cell(grid, variant, seed, out / variant.name / str(seed)) for seed in range(seeds) for variant in variants]


def configuration(cell: Cell, overrides: Sequence[str], cache: str, quick: bool) -> Config:
    """Configuration of a cell's run."""
    grid, variant = cell.grid, cell.variant
    settings = [f"data.cache={cache}", f"seed={cell.seed}", *grid.overrides, *(grid.quick if quick else ())]
    return load_config(variant.config or grid.config, [*settings, *variant.overrides, *overrides])


def check_configuration(cell: Cell, config: Config) -> None:
    """Check that what is done was done with a configuration; where cache and shards lay does not count.

    Raises:
        ConfigError: it was another.
    """
    own = load_config(cell.folder / "config.yaml")
    own.data.cache = config.data.cache
    if all(c.data.pairs.source.startswith("shards:") for c in (own, config)):
        own.data.pairs.source = config.data.pairs.source  # variants with other nodes have shards of their own
    if changed := differences(own, config):
        raise ConfigError(
            f"{cell.folder} is done with another configuration: {', '.join(changed)}; say the same, or choose another "
            "--out"
        )


def build_graphs(grid: Grid, configs: Iterable[Config], part: str) -> None:
    """Fill the graph cache before the cells run side by side: they would wait for each other."""
    from gshn.training.corpora import Corpora

    done = set()
    for config in configs:
        made_of = f"{config.graph} {config.data}"
        if made_of in done:
            continue
        done.add(made_of)
        corpora = Corpora(config)
        _ = corpora.pairs
        for split in grid.splits[part].values():
            corpora.test_pairs_of(split)
        for task in config.finetune.tasks:
            corpora.texts(task)
            for split in grid.splits[part].values():
                corpora.test_texts(task, split)


def run_cell(cell: Cell, part: str, overrides: Sequence[str], cache: str, quick: bool) -> list[Row]:
    """Train a cell (from where it was interrupted) and evaluate it on a part's splits; its rows are written, too."""
    from gshn.encoders.hybrid import HybridEncoder
    from gshn.evaluation.answers import evaluate_task
    from gshn.evaluation.retrieval import evaluate_retrieval, recall_sums
    from gshn.inference import SpikeCount
    from gshn.training.loop import Trainer

    trainer = Trainer(configuration(cell, overrides, cache, quick), cell.folder, resume=True)
    trainer.train()
    seconds = round(trainer.seconds(), 1)
    model, corpora = trainer.model.eval(), trainer.corpora
    rows: list[Row] = []
    grid = cell.grid
    paths = grid.paths and isinstance(model.encoder, HybridEncoder) and model.encoder.spiking is not None
    for kind, split in grid.splits[part].items():
        count = SpikeCount()
        figures: dict[str, float] = {}
        if kind != "relations":  # its scenes are those of "known"
            found = evaluate_retrieval(model, corpora.test_pairs_of(split), count, rerank=grid.rerank, paths=paths)
            figures |= found | recall_sums(found)
        for task in trainer.config.finetune.tasks:
            figures |= evaluate_task(model, corpora.test_texts(task, split), count)
        if count.cells:
            figures["spikes.firing_rate"] = count.firing_rate
        for key, value in figures.items():
            task, _, metric = key.partition(".")
            if not metric.startswith("caption"):
                rows.append(Row(variant=cell.variant.name, task=task, split=split, seed=cell.seed, metric=metric,
                                value=round(value, 6), seconds=seconds))  # fmt: skip
    write_atomically(cell.rows(part), json.dumps(rows, indent=1) + "\n")
    trainer.close()
    return rows


def _run_alone(cell: Cell, part: str, overrides: Sequence[str], cache: str, quick: bool) -> None:
    import torch

    torch.set_num_threads(1)
    run_cell(cell, part, overrides, cache, quick)


def run_grid(wanted: Sequence[Cell], part: str, overrides: Sequence[str], cache: str, quick: bool, jobs: int) -> None:
    """Run every cell that is not done on a part, ``jobs`` processes of one thread each at a time.

    Raises:
        ConfigError: a cell was done with another configuration.
    """
    todo = [cell for cell in wanted if not cell.rows(part).is_file()]
    for cell in wanted:
        if cell not in todo:
            check_configuration(cell, configuration(cell, overrides, cache, quick))
    if todo:
        build_graphs(todo[0].grid, (configuration(cell, overrides, cache, quick) for cell in todo), part)
    bar = tqdm(total=len(wanted), initial=len(wanted) - len(todo), desc="grid", unit=" runs")
    with quiet_children(), bar, ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=1) as pool:
        running = [pool.submit(_run_alone, cell, part, overrides, cache, quick) for cell in todo]
        try:
            for future in as_completed(running):
                future.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what runs goes on to its end, and need not be done again
            raise


@contextmanager
def quiet_children() -> Iterator[None]:
    """Processes that start meanwhile show no progress bars of their own: there is one for the grid."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


def collect(grid: Grid, out: Path, part: str) -> list[Row]:
    """A part's rows of all cells that are done in a folder, whenever they were asked for; by seed, in the grid's order.

    Raises:
        DataError: a cell's file holds no rows.
    """
    found = [
        Cell(grid, variant, int(folder.name), folder)
        for variant in grid.variants
        for folder in (out / variant.name).glob("*")
        if folder.name.isdigit()
    ]
    return [row for cell in sorted(found, key=lambda cell: cell.seed) for row in read_rows(cell.rows(part))]


def check_rows(rows: Iterable[Row], grid: Grid, part: str, path: Path) -> None:
    """Check that rows of a file are of a grid and of a part of it.

    Raises:
        ConfigError: one is of another; names it.
    """
    for row in rows:
        if row["variant"] not in grid.by_name:
            raise ConfigError(
                f"{path}: the grid {grid.name} has no variant {row['variant']}; say --grid as it was said"
            )
        if row["split"] not in grid.splits[part].values():
            raise ConfigError(f"{path}: split {row['split']} is not of --on {part}; name rows of that part")


def merged(grid: Grid, earlier: Iterable[Row], later: Iterable[Row]) -> list[Row]:
    """Rows of two reports, by seed, in the grid's order; of a cell that both have, those of the later one."""
    by_cell: dict[tuple[int, int], list[Row]] = {}
    order = {name: place for place, name in enumerate(grid.by_name)}
    for rows in (earlier, later):
        own: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            own.setdefault((row["seed"], order[row["variant"]]), []).append(row)
        by_cell |= own
    return [row for cell in sorted(by_cell) for row in by_cell[cell]]


def read_rows(path: Path) -> list[Row]:
    """Rows that a cell or an earlier report wrote; none where there is no such file.

    Raises:
        DataError: the file holds no rows.
    """
    if not path.is_file():
        return []
    try:
        rows: list[Row] = json.loads(path.read_text())
        if not all(row.keys() == Row.__annotations__.keys() for row in rows):
            raise ValueError("a row has other keys")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} holds no rows of the grid ({error}); restore it, or delete it") from None
    return rows
