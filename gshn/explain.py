"""``python -m gshn.explain``: which segments of an image drive its match with a caption, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gshn.config import SEGMENTERS, load_config
from gshn.errors import ConfigError
from neuromorphic.cli import CommandParser, run_command, whole
from neuromorphic.files import check_destination, write_atomically


def main() -> None:
    """Parse arguments, explain, draw."""
    parser = CommandParser("python -m gshn.explain", description=__doc__)
    parser.add_argument("image", nargs="?", type=Path, help="an image file; without one, see --index")
    parser.add_argument("--caption", help="what to match the image with; without it, the first of image --index")
    parser.add_argument(
        "--index", type=whole(0, 10**9), help="an image of data.pairs, counted from 0, in place of a file"
    )
    parser.add_argument("--split", default="test", help="of --index (default %(default)s)")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that gshn.train wrote")
    parser.add_argument(
        "--segmenter",
        choices=SEGMENTERS,
        help="default: the checkpoint's; of a file superpixels, where that is ground-truth",
    )
    parser.add_argument("--weights", help="of a learned segmenter: a folder, or a name on the hub")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture")
    arguments = parser.parse_args()
    if (arguments.image is None) == (arguments.index is None):
        parser.error("name an image file or --index, one of them")
    if arguments.image is not None and not arguments.caption:
        parser.error("an image file needs --caption")

    check_destination(arguments.out, [arguments.image])

    import torch

    from gshn.data.image_files import ImageFiles
    from gshn.evaluation.explanation import explain
    from gshn.evaluation.picture import draw_explanation
    from gshn.inference import count_texts
    from gshn.model import GSHN
    from gshn.training.corpora import Corpora

    model = GSHN.from_pretrained(arguments.checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    segmenter = arguments.segmenter
    if segmenter is None and arguments.image is not None and model.config.data.pairs.segmenter == "ground-truth":
        segmenter = "superpixels"  # A file has no annotation.
    chosen = [f"data.pairs.segmenter={segmenter}"] if segmenter else []
    chosen += [f"data.pairs.weights={arguments.weights}"] if arguments.weights else []
    config = load_config(arguments.checkpoint / "config.yaml", chosen)
    corpora = Corpora(config, model.vocabulary)
    index = arguments.index or 0
    if arguments.image is not None:
        images: Any = ImageFiles(str(arguments.image), [arguments.image], config.data.pairs.image_size)
        images.upright = config.data.upright
    else:
        images = corpora.images(arguments.split, index + 1)
    if index >= len(images):
        raise ConfigError(f"--index {index}: {arguments.split} has {len(images)} images, counted from 0")
    caption = arguments.caption or images.captions[index][0]
    sample = images[index]
    graph, node_map = corpora.graph_of(sample, corpora.segmenter_of(images))
    explanation = explain(model, graph, caption)
    write_atomically(arguments.out, draw_explanation(sample.image, node_map.numpy(), explanation, caption))
    best = explanation.share.argsort(descending=True)[:3].tolist()
    first = ", ".join(f"{explanation.names[segment]} ({explanation.share[segment]:.3f})" for segment in best)
    count_texts(model, [caption], "the caption")
    print(f"{arguments.out}: similarity {explanation.similarity:.3f}; segments that drive it most: {first}")


if __name__ == "__main__":
    run_command(main)
