"""``python -m gshn.segment``: images -> panoptic segments; training and measuring of segmenters."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gshn.cli import CommandParser, run_command, whole
from gshn.config import SEGMENTERS, SegmenterFit
from gshn.errors import ConfigError, DataError, GSHNError
from gshn.files import make_folder, write_atomically

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def main() -> None:
    """Parse arguments; segment images, train a segmenter, or measure one."""
    parser = CommandParser("python -m gshn.segment", description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGES", help="image files, or folders of them")
    parser.add_argument("--segmenter", choices=SEGMENTERS, help="what finds the segments")
    parser.add_argument("--weights", help="of a learned segmenter: a folder, or a name on the hub")
    parser.add_argument("--annotations", type=Path, metavar="JSON", help="COCO panoptic JSON, for ground-truth")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--show", action="store_true", help="draw segments and scene graph over each image, as PNG")
    parser.add_argument(
        "--image-size", type=whole(1, 65536), default=640, help="longer side, pixels; larger images are scaled down"
    )
    parser.add_argument("--fit", choices=["shapescenes"], help="train a small Mask2Former; its weights go to --out")
    parser.add_argument(
        "--steps", type=whole(1, 10**9), default=SegmenterFit.steps, help="of --fit (default %(default)s)"
    )
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, help="of --fit")
    parser.add_argument("--resume", action="store_true", help="go on with --fit where it was stopped")
    parser.add_argument("--evaluate", choices=["shapescenes"], help="panoptic quality on held-out scenes")
    parser.add_argument(
        "--limit", type=whole(1, 10**9), default=1000, help="scenes of --evaluate (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures of --evaluate here too")
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments)
    elif arguments.evaluate:
        evaluate(arguments)
    else:
        segment(arguments)


def fit(arguments: argparse.Namespace) -> None:
    """Train a small Mask2Former, and measure it."""
    if arguments.out is None:
        raise ConfigError("--fit needs --out, the folder of the weights")
    from gshn.training.segmentation import fit_segmenter

    fit_segmenter(SegmenterFit(seed=arguments.seed, steps=arguments.steps), arguments.out, arguments.resume)
    arguments.segmenter, arguments.weights = "mask2former", str(arguments.out)
    evaluate(arguments)


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the panoptic quality of a segmenter on held-out scenes."""
    if arguments.segmenter is None:
        raise ConfigError(f"--evaluate needs --segmenter, one of {', '.join(SEGMENTERS)}")
    from dataclasses import asdict

    from gshn.data.shapescenes import ShapeScenes
    from gshn.evaluation.panoptic import panoptic_quality
    from gshn.evaluation.table import print_quality
    from gshn.segments.choose import make_segmenter

    scenes = ShapeScenes("test", arguments.limit)
    figures = panoptic_quality(make_segmenter(arguments.segmenter, arguments.weights, scenes.categories), scenes)
    print_quality(figures, f"{arguments.segmenter}, {len(scenes)} held-out scenes")
    if arguments.json is not None:
        write_atomically(
            arguments.json, json.dumps({name: asdict(part) for name, part in figures.items()}, indent=2) + "\n"
        )


def segment(arguments: argparse.Namespace) -> None:
    """Segment images; write ``panoptic.json``, ``panoptic/*.png`` and, with ``--show``, ``*.segments.png``."""
    if not arguments.images:
        raise ConfigError("name images, or folders of images; or --fit or --evaluate")
    if arguments.segmenter is None or arguments.out is None:
        raise ConfigError("images need --segmenter and --out")
    paths = list(_image_files(arguments.images))
    make_folder(arguments.out / "panoptic")

    from PIL import Image
    from tqdm import tqdm

    from gshn.data.files import read_image
    from gshn.graphs.draw import draw_graph
    from gshn.graphs.scene_graph import GraphParameters, segments_to_graph
    from gshn.segments.choose import make_segmenter
    from gshn.segments.panoptic import coco_annotation, coco_categories, encode_panoptic_png, read_coco_panoptic, resize

    truth = _Annotations(arguments.annotations) if arguments.annotations is not None else None
    segmenter = make_segmenter(arguments.segmenter, arguments.weights, truth.categories if truth else ())
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    failed: list[str] = []
    for number, path in enumerate(tqdm(paths, desc=arguments.segmenter, unit="image"), start=1):
        try:
            image = read_image(path, arguments.image_size)
            annotation = None
            if truth is not None:
                annotation = resize(read_coco_panoptic(*truth.entry(path)), *image.shape[:2])
            segments = segmenter(image, annotation)
            graph = segments_to_graph(segments, segmenter.categories, GraphParameters(), path.name)
        except DataError as error:
            reason = str(error) if str(path) in str(error) else f"{path}: {error}"
            failed.append(reason)
            tqdm.write(f"error: {reason}", file=sys.stderr)
            continue
        buffer = io.BytesIO()
        Image.fromarray(encode_panoptic_png(segments.segment_map)).save(buffer, "png")
        write_atomically(arguments.out / "panoptic" / f"{path.stem}.png", buffer.getvalue())
        height, width = image.shape[:2]
        images.append({"id": number, "file_name": path.name, "height": height, "width": width})
        annotations.append(coco_annotation(segments, number, f"{path.stem}.png"))
        if arguments.show:
            picture = draw_graph(image, segments, graph, segmenter.categories, path.name)
            write_atomically(arguments.out / f"{path.stem}.segments.png", picture)
    content = {"images": images, "annotations": annotations, "categories": coco_categories(segmenter.categories)}
    write_atomically(arguments.out / "panoptic.json", json.dumps(content))
    counts = f"{sum(len(a['segments_info']) for a in annotations)} segments in {len(images)} images"
    print(f"{arguments.out / 'panoptic.json'}: {counts}")
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} images could not be segmented, the first: {failed[0]}")


class _Annotations:
    """A COCO panoptic JSON, with its PNGs in the folder of the same name or in ``panoptic`` beside its own folder."""

    def __init__(self, path: Path) -> None:
        from gshn.segments.panoptic import Category

        try:
            content = json.loads(path.read_text())
            self.categories = tuple(Category(c["id"], c["name"], bool(c["isthing"])) for c in content["categories"])
            self._entries = {Path(entry["file_name"]).stem: entry for entry in content["annotations"]}
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); name a COCO panoptic JSON") from None
        except (ValueError, KeyError, TypeError) as error:
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path} is no whole COCO panoptic JSON ({reason}); restore the file") from None
        folders = [path.with_suffix(""), path.parent.parent / "panoptic", path.parent / "panoptic"]
        self._folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        self._path = path

    def entry(self, image: Path) -> tuple[Path, Sequence[dict[str, Any]]]:
        """PNG and segments of an image."""
        if image.stem not in self._entries:
            raise DataError(f"{image}: {self._path} has no entry for it")
        entry = self._entries[image.stem]
        return self._folder / entry["file_name"], entry["segments_info"]


def _image_files(named: Sequence[Path]) -> Iterator[Path]:
    """The image files among what is named, those of folders in order of their names."""
    seen: dict[str, Path] = {}
    for path in named:
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise DataError(f"folder {path} has no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        else:
            files = [path]
        for file in files:
            if file.stem in seen and seen[file.stem] != file:
                raise GSHNError(f"{seen[file.stem]} and {file} would write the same files; segment them apart")
            if file.stem not in seen:
                seen[file.stem] = file
                yield file


if __name__ == "__main__":
    run_command(main)
