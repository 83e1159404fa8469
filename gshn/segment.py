"""``python -m gshn.segment``: images -> panoptic segments; training and measuring of segmenters."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gshn.config import SegmenterFit
from gshn.errors import ConfigError, DataError
from gshn.registry import SEGMENTERS
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.errors import UserError, UserNotice, counted
from neuromorphic.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gshn.segments.panoptic import Category, PanopticSegments, Segmenter


EXAMPLES = """
examples:
  python -m gshn.segment photos --segmenter superpixels --out segmented --show
      segmented: panoptic.json and panoptic/*.png, COCO's panoptic format; with --show a picture of each image
  python -m gshn.segment --fit shapescenes --out runs/mask2former
  python -m gshn.segment --evaluate shapescenes --segmenter mask2former --weights runs/mask2former
"""


def main() -> None:
    """Parse arguments; segment images, train a segmenter, or measure one."""
    parser = CommandParser("python -m gshn.segment", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGES",
        help="image files of any format that Pillow reads, or folders of them, with subfolders",
    )
    parser.add_argument("--segmenter", choices=SEGMENTERS, help=SEGMENTERS.help())
    parser.add_argument("--weights", help="weights of a learned segmenter: a folder, or a name on the hub")
    parser.add_argument(
        "--segments",
        type=whole_number(1, 10000),
        help="number of superpixels or feature regions (default: superpixels merge by the distance of their colours)",
    )
    parser.add_argument(
        "--no-fill", action="store_true", help="with semantic: leave the background void, without superpixels"
    )
    parser.add_argument("--annotations", type=Path, metavar="JSON", help="COCO panoptic JSON, for ground-truth")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--show", action="store_true", help="draw segments and scene graph over each image, as PNG")
    parser.add_argument(
        "--image-size",
        type=whole_number(1, 65536),
        default=640,
        help="longer side, pixels; larger images are scaled down",
    )
    parser.add_argument(
        "--as-stored", action="store_true", help="leave pixels as stored: do not turn images as their EXIF says"
    )
    parser.add_argument("--fit", choices=["shapescenes"], help="train a small Mask2Former; its weights go to --out")
    parser.add_argument(
        "--steps", type=whole_number(1, 10**9), default=SegmenterFit.steps, help="steps of --fit (default %(default)s)"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), default=0, help="seed of --fit")
    parser.add_argument("--resume", action="store_true", help="continue --fit where it was stopped")
    parser.add_argument("--evaluate", choices=["shapescenes"], help="measure panoptic quality on held-out scenes")
    parser.add_argument(
        "--limit", type=whole_number(1, 10**9), default=1000, help="scenes of --evaluate (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures of --evaluate to this file")
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments)
    elif arguments.evaluate:
        evaluate(arguments)
    else:
        segment(arguments)


def fit(arguments: argparse.Namespace) -> None:
    """Train a small Mask2Former, and measure it.

    Raises:
        ConfigError: ``--out`` is missing.
    """
    if arguments.out is None:
        raise ConfigError("--fit needs --out, the folder of the weights")
    from gshn.training.segmentation import fit_segmenter

    fit_segmenter(SegmenterFit(seed=arguments.seed, steps=arguments.steps), arguments.out, arguments.resume)
    arguments.segmenter, arguments.weights = "mask2former", str(arguments.out)
    measure(arguments)
    print(f"weights: {arguments.out}")
    print_next(["gshn.train", "--out", "runs/found", *_settings(arguments)])


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure a segmenter on held-out scenes.

    Raises:
        ConfigError: ``--segmenter`` is missing.
    """
    if arguments.segmenter is None:
        raise ConfigError(f"--evaluate needs --segmenter, one of {', '.join(SEGMENTERS)}")
    measure(arguments)
    print_next(["gshn.train", "--out", "runs/found", *_settings(arguments)])


def measure(arguments: argparse.Namespace) -> None:
    """Print the panoptic quality of a segmenter on held-out scenes, and write it to ``--json``."""
    from dataclasses import asdict

    from gshn.data.shapescenes import ShapeScenes
    from gshn.evaluation.panoptic import panoptic_quality
    from gshn.evaluation.table import print_quality

    scenes = ShapeScenes("test", arguments.limit)
    figures = panoptic_quality(_segmenter(arguments, scenes.categories), scenes)
    print_quality(figures, f"{arguments.segmenter}, {len(scenes)} held-out scenes")
    if arguments.json is not None:
        write_atomically(
            arguments.json, json.dumps({name: asdict(part) for name, part in figures.items()}, indent=2) + "\n"
        )
        print(f"{arguments.json}: these figures")


def segment(arguments: argparse.Namespace) -> None:
    """Segment images; write ``panoptic.json``, ``panoptic/*.png`` and, with ``--show``, ``*.segments.png``.

    Raises:
        ConfigError: ``--segmenter``, ``--out`` or images are missing.
        DataError: some images could not be segmented. The others are written.
    """
    if not arguments.images:
        raise ConfigError("name images, or folders of images; or --fit or --evaluate")
    if arguments.segmenter is None or arguments.out is None:
        raise ConfigError("images need --segmenter and --out")
    paths = _image_files(arguments.images, arguments.out)

    from tqdm import tqdm

    from gshn.data.panoptic_folder import PanopticFolder
    from gshn.graphs.draw import draw_graph
    from gshn.graphs.scene_graph import GraphParameters, segments_to_graph

    source = _Annotated(arguments, list(paths.values()))
    segmenter = _segmenter(arguments, source.categories)
    settings = {"segmenter": segmenter.key, "image_size": source.image_size, "upright": source.upright}
    failed: list[str] = []
    with PanopticFolder(arguments.out, segmenter.categories, settings) as folder:
        before = len(folder)
        for name, path in tqdm(paths.items(), desc=f"segment with {arguments.segmenter}", unit=" images"):
            picture = folder.path / f"{folder.base(name)}.segments.png"
            try:
                digest = source.digest(path)
                if folder.has(name, digest) and (not arguments.show or picture.is_file()):
                    continue
                image, annotation = source.read(path)
                segments = segmenter(image, annotation)
                graph = segments_to_graph(segments, segmenter.categories, GraphParameters(), name)
            except DataError as error:
                reason = " ".join((str(error) if str(path) in str(error) else f"{path}: {error}").split())
                failed.append(reason)
                tqdm.write(f"error: {reason}", file=sys.stderr)
                continue
            if arguments.show:
                categories = [category.name for category in segmenter.categories]
                write_atomically(picture, draw_graph(image, segments, graph, categories, name))
            folder.add(name, digest, segments)
    there = f" ({counted(before, 'of them was', 'of them were')} there before)" if before else ""
    counts = f"{counted(folder.segments, 'segment')} in {counted(len(folder), 'image')}"
    print(f"{folder.path / 'panoptic.json'}: {counts}{there}")
    print(f"{folder.path / 'panoptic'}: their PNGs, COCO's panoptic format")
    if arguments.show:
        print(f"{folder.path / '*.segments.png'}: each image with its segments and scene graph")
    if failed:
        of = counted(len(paths), "image")
        raise DataError(f"{len(failed)} of {of} could not be segmented, the first: {failed[0]}")
    print_next(*_after(arguments))


def _after(arguments: argparse.Namespace) -> list[list[object]]:
    """What follows segmenting: pictures, unless they are drawn, and training, where captions lie beside the images."""
    commands: list[list[object]] = []
    if not arguments.show:
        commands.append(["gshn.segment", *sys.argv[1:], "--show"])
    places = [path if path.is_dir() else path.parent for path in arguments.images]
    captions = next((file for place in places if (file := place / "captions.csv").is_file()), None)
    if captions is not None and arguments.segmenter != "ground-truth":
        source = f"data.pairs.source=captions:{captions}"
        settings = _settings(arguments)
        if arguments.segments is None:  # The configuration has a number of its own.
            settings.append("data.pairs.segments=null")
        commands.append(["gshn.train", "--config", "photographs", "--out", "runs/mine", source, *settings])
    return commands


def _settings(arguments: argparse.Namespace) -> list[str]:
    """Overrides of a configuration that choose the segmenter as the arguments do."""
    values = {
        "segmenter": arguments.segmenter,
        "weights": arguments.weights,
        "segments": arguments.segments,
        "fill": "false" if arguments.no_fill else None,
    }
    return [f"data.pairs.{key}={value}" for key, value in values.items() if value is not None]


def _segmenter(arguments: argparse.Namespace, categories: Sequence[Category]) -> Segmenter:
    from gshn.segments.choose import make_segmenter

    fill = not arguments.no_fill
    return make_segmenter(arguments.segmenter, arguments.weights, categories, arguments.segments, fill)


class _Annotated:
    """Images of files, with their segments where ``--annotations`` names them."""

    def __init__(self, arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
        from gshn.data.panoptic_annotations import PanopticAnnotations

        self.image_size, self.upright = arguments.image_size, not arguments.as_stored
        self._truth, self._ids = None, {}
        json_path: Path | None = arguments.annotations
        if json_path is not None:
            # The PNGs are in the folder of the same name, or in one called panoptic.
            beside = json_path.parent
            folders = [json_path.with_suffix(""), beside.parent / "panoptic", beside / "panoptic"]
            self._truth = PanopticAnnotations(json_path, folders)
            self._ids = self._truth.ids_of(paths)
            self._truth.check({number: image for image, number in self._ids.items()})

    @property
    def categories(self) -> Sequence[Category]:
        """Vocabulary of the annotation."""
        return self._truth.categories if self._truth is not None else ()

    def digest(self, path: Path) -> str:
        """Digest of all files that an image and its annotation are read from."""
        from gshn.data.panoptic_folder import digest_of

        if self._truth is None or path not in self._ids:
            return digest_of([path])
        number = self._ids[path]
        png = self._truth.png_of(number)
        return digest_of([path] if png is None else [path, png], self._truth.digest([number]))

    def read(self, path: Path) -> tuple[NDArray[np.uint8], PanopticSegments | None]:
        """An image, and its segments."""
        from gshn.data.files import read_image
        from gshn.segments.panoptic import resize

        image = read_image(path, self.image_size, self.upright)
        if self._truth is None:
            return image, None
        found = self._truth.read(self._ids[path], path, self.upright) if path in self._ids else None
        if found is None:
            raise DataError(f"{path}: {self._truth.path} has no annotation of it")
        return image, resize(found, *image.shape[:2])


def _image_files(named: Sequence[Path], out: Path) -> dict[str, Path]:
    """The image files among what is named, and in its folders and their subfolders, by the name that each gets.

    That of a file in a folder is its path in it, with the folder's own name before it where several are named. What is
    in ``out`` is passed over.
    """
    from gshn.data.files import list_images

    folders = [path for path in named if path.is_dir()]
    files: list[tuple[str, Path]] = [(path.name, path) for path in named if not path.is_dir()]
    others: Counter[str] = Counter()
    for folder in folders:
        images, left_out = list_images(folder, out)
        others += left_out
        if not images:
            counts = f", but {_counts(left_out)}" if left_out else ""
            raise DataError(f"folder {folder} has no image that Pillow reads here{counts}")
        root = folder.resolve().parent if len(folders) > 1 else folder.resolve()
        files += [((folder.resolve() / path.relative_to(folder)).relative_to(root).as_posix(), path) for path in images]
    if others:
        what = counted(others.total(), "file that Pillow cannot read here is", "files that Pillow cannot read here are")
        warnings.warn(f"{what} left out: {_counts(others)}", UserNotice, stacklevel=2)
    found: dict[str, Path] = {}
    for name, path in files:
        if found.setdefault(name, path).resolve() != path.resolve():
            raise UserError(f"{found[name]} and {path} would both be called {name}; segment them apart")
    return found


def _counts(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items(), key=lambda o: (-o[1], o[0])))


if __name__ == "__main__":
    run_command(main)
