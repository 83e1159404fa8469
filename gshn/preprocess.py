"""``python -m gshn.preprocess``: images -> scene graphs in WebDataset shards, on any number of processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from gshn.cli import CommandParser, run_command, whole
from gshn.config import SEGMENTERS, load_config
from gshn.errors import ConfigError
from gshn.launchers import process

SPLITS = ("train", "val", "test")


def main() -> None:
    """Parse arguments, write this process's shards, report."""
    parser = CommandParser("python -m gshn.preprocess", description=__doc__)
    parser.add_argument("--data", required=True, help="shapescenes, coco:DIR, flickr30k:DIR, vqa2:DIR, ...")
    parser.add_argument("--segmenter", choices=SEGMENTERS, required=True)
    parser.add_argument("--weights", help="of a learned segmenter: a folder, or a name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards, with a folder for each split")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all three")
    parser.add_argument(
        "--image-size", type=whole(48, 4096), default=224, help="longer side of photographs, pixels (default 224)"
    )
    parser.add_argument("--limit", type=whole(1, 10**9), help="images of each split, the first; needed for shapescenes")
    parser.add_argument("--shard-size", type=whole(1, 10**9), default=1000, help="images per shard (default 1000)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of graph, e.g. graph.regions=boxes")
    arguments = parser.parse_intermixed_args()
    rank, world_size = process(os.environ)
    data = {"source": arguments.data, "segmenter": arguments.segmenter, "image_size": arguments.image_size}
    data |= {
        "weights": arguments.weights or "null",
        "train": arguments.limit or "null",
        "test": arguments.limit or "null",
    }
    if arguments.data == "shapescenes" and arguments.limit is None:
        raise ConfigError("--data shapescenes has no end: give --limit N, the scenes of each split")
    config = load_config(
        "default", [*arguments.overrides, *(f"data.pairs.{key}={value}" for key, value in data.items())]
    )

    # Late: PyTorch takes seconds to import, which a wrong argument should not cost.
    from gshn.data.sources import Texts
    from gshn.graphs.shards.index import missing_shards, write_index
    from gshn.graphs.shards.write import Recipe, write_shards
    from gshn.training.corpora import Corpora

    corpora = Corpora(config)
    for split in arguments.split:
        images = corpora.images(split, arguments.limit)
        recipe = Recipe(images, corpora.segmenter_of(images), corpora.backbone, corpora.graph_parameters)
        folder = arguments.out / split
        begun = time.monotonic()
        write_shards(
            recipe,
            folder,
            split if world_size == 1 else f"{split} {rank}/{world_size}",
            arguments.shard_size,
            rank,
            world_size,
            annotate=Texts(images),
        )
        seconds = time.monotonic() - begun
        if missing := missing_shards(folder):
            print(f"{folder}: this process is done after {seconds:.0f} s, {len(missing)} shards of others are not")
            continue
        index = write_index(folder)
        counts = f"{len(index)} graphs in {len(index.graphs)} shards, of {len(images)} images"
        print(f"{folder}: {counts}, {len(index.broken)} left out ({seconds:.0f} s)")
        for entry in index.broken:
            print(f"  left out: {entry['reason']}")


if __name__ == "__main__":
    run_command(main)
