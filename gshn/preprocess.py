"""``python -m gshn.preprocess``: images -> scene graphs in WebDataset shards, on any number of processes."""

from __future__ import annotations

import logging
import os
import time
import warnings
from argparse import Namespace
from pathlib import Path

from gshn.config import Config, flat, is_drawn, load_config
from gshn.errors import ConfigError, DataError, MissingError
from gshn.launchers import cores, is_started, process, processes, share
from gshn.registry import DATASETS, SEGMENTERS
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.errors import UserNotice, counted
from neuromorphic.files import make_folder

SPLITS = ("train", "val", "test")

EXAMPLES = """
examples:
  python -m gshn.preprocess --data coco:coco --segmenter ground-truth --out shards/coco
  python -m gshn.preprocess --data captions:photos/captions.csv --split-by 80/10/10 --segmenter superpixels \\
      --out shards/mine
      captions.csv: columns such as 'image' and 'caption', one caption in each row (docs/own-images.md)
  python -m gshn.preprocess --data coco:coco --segmenter superpixels --processes auto --out shards/coco
  python -m gshn.train --config photographs --out runs/coco data.pairs.source=shards:shards/coco
"""

SETTINGS = (
    "data.pairs.image_size",
    "data.pairs.segmenter",
    "data.pairs.weights",
    "data.pairs.segments",
    "data.pairs.fill",
    "data.upright",
    "graph.backbone",
    "graph.neighbours",
    "graph.max_segments",
    "graph.regions",
    "graph.patches",
    "graph.levels",
    "graph.pooling",
    "graph.whole_image",
    "graph.precision",
    "graph.mirror",
    "graph.tune",
)
"""Keys of the configuration that shape the graphs. Shards tell them, and a run from shards has them from there."""


def main() -> None:
    """Parse arguments, write this process's shards, report."""
    parser = CommandParser("python -m gshn.preprocess", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "--config", default="default", help="named config or YAML file that says how graphs are made (default: default)"
    )
    parser.add_argument(
        "--data",
        required=True,
        help=DATASETS.help(),
    )
    parser.add_argument("--segmenter", choices=SEGMENTERS, required=True, help=SEGMENTERS.help())
    parser.add_argument("--weights", help="weights of a learned segmenter: a folder, or a name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards, with a folder for each split")
    parser.add_argument("--split", nargs="+", choices=SPLITS, help="splits to make (default: those that are there)")
    parser.add_argument(
        "--split-by", metavar="COLUMN|80/10/10", help="with captions:FILE: short for data.pairs.file.split=..."
    )
    parser.add_argument(
        "--image-size",
        type=whole_number(48, 4096),
        default=224,
        help="longer side of photographs, pixels (default 224)",
    )
    parser.add_argument(
        "--limit", type=whole_number(1, 10**9), help="take only the first images of each split; needed for shapescenes"
    )
    parser.add_argument(
        "--shard-size", type=whole_number(1, 10**9), default=1000, help="images per shard (default 1000)"
    )
    parser.add_argument(
        "--processes",
        type=processes,
        default=1,
        metavar="N|auto",
        help="processes of this machine that share the work, a shard at a time (default 1); auto: one for each GPU, or "
        "for each core where there is none",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes of graph.* and data.pairs.*, e.g. graph.regions=boxes",
    )
    arguments = parser.parse_intermixed_args()
    data = {"source": arguments.data, "segmenter": arguments.segmenter, "image_size": arguments.image_size}
    data |= {
        "weights": arguments.weights or "null",
        "train": arguments.limit or "null",
        "test": arguments.limit or "null",
    }
    if arguments.split_by is not None:
        if not arguments.data.startswith("captions:"):
            raise ConfigError("--split-by goes with --data captions:FILE; other data sets have splits of their own")
        data["file.split"] = arguments.split_by
    if is_drawn(arguments.data) and arguments.limit is None:
        raise ConfigError(f"--data {arguments.data} is unlimited: give --limit N, the scenes of each split")
    config = load_config(
        arguments.config, [*arguments.overrides, *(f"data.pairs.{key}={value}" for key, value in data.items())]
    )

    if share("gshn.preprocess", arguments.processes, lambda: write(arguments, config), cores()):
        logging.disable(logging.WARNING)  # The first of them has told what there is to tell of the data.
        try:
            write(arguments, config, by_others=True)
        finally:
            logging.disable(logging.NOTSET)


def write(arguments: Namespace, config: Config, by_others: bool = False) -> None:
    """Write this process's shards, and report.

    Args:
        arguments: Arguments of the command.
        config: The configuration.
        by_others: Whether processes that this one has started have written all shards.

    Raises:
        DataError: a split that was asked for, or every split, cannot be made.
    """
    # Late: PyTorch takes seconds to import, which a wrong argument should not cost.
    from gshn.data.sources import Texts
    from gshn.graphs.shards.index import missing_shards, write_index
    from gshn.graphs.shards.write import MOST_NAMED, Recipe, write_shards
    from gshn.training.corpora import Corpora

    make_folder(arguments.out)
    rank, world_size = process(os.environ)
    corpora, values = Corpora(config), flat(config)
    missing: dict[str, MissingError] = {}
    for split in arguments.split or SPLITS:
        try:
            images = corpora.images(split, arguments.limit)
        except MissingError as error:
            missing[split] = error
            continue
        texts = Texts(images)
        recipe = Recipe(images, corpora.segmenter_of(images), corpora.backbone, corpora.graph_parameters)
        folder = arguments.out / split
        begun = time.monotonic()
        write_shards(
            recipe,
            folder,
            f"{split} images" if world_size == 1 else f"{split} images, process {rank} of {world_size}",
            arguments.shard_size,
            rank,
            world_size,
            annotate=texts,
            extra={"settings": {key: values[key] for key in SETTINGS}},
        )
        if is_started():
            continue
        seconds = time.monotonic() - begun
        if others := missing_shards(folder):
            rest = counted(len(others), "shard of others is", "shards of others are")
            print(f"{folder}: this process is done after {seconds:.0f} s; {rest} not")
            continue
        index = write_index(folder)
        counts = f"{counted(len(index), 'graph')} in {counted(len(index.graphs), 'shard')}"
        took = "" if by_others else f" ({seconds:.0f} s)"
        print(f"{folder}: {counts}, of {counted(len(images), 'image')}, {len(index.broken)} left out{took}")
        for entry in index.broken[:MOST_NAMED]:
            print(f"  left out: {entry['reason']}")
        if len(index.broken) > MOST_NAMED:
            print(f"  and {len(index.broken) - MOST_NAMED} more, which {folder / 'index.json'} lists")
    if is_started():
        return
    reasons = "; ".join(f"no {split}: {error}" for split, error in missing.items())
    if arguments.split and missing:
        of = counted(len(arguments.split), "split")
        raise DataError(f"{len(missing)} of {of} could not be made: {reasons}")
    if len(missing) == len(SPLITS):
        raise missing[SPLITS[0]]
    if missing:
        warnings.warn(f"{arguments.data}: {reasons}", UserNotice, stacklevel=1)
    # A run needs both splits, and takes its captions from shards; questions and statements have keys of their own.
    complete = all((arguments.out / split / "index.json").is_file() for split in ("train", "test"))
    if rank == 0 and complete and arguments.data.partition(":")[0] not in ("vqa2", "daquar", "snli-ve", "nlvr2"):
        source = f"data.pairs.source=shards:{arguments.out}"
        out = Path("runs") / arguments.out.resolve().name
        print_next(["gshn.train", "--config", arguments.config, "--out", out, source])


if __name__ == "__main__":
    run_command(main)
