"""``python -m gshn.explain``: draw which segments of an image match a caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gshn.arguments import add_model_arguments
from gshn.errors import ConfigError
from neuromorphic.cli import CommandParser, run_command, whole_number
from neuromorphic.errors import counted
from neuromorphic.files import check_destination, write_atomically

EXAMPLES = """
examples:
  python -m gshn.explain photos/dog.jpg --caption "A dog waits." --checkpoint runs/mine --out why.png
  python -m gshn.explain --index 7 --split test --checkpoint runs/default --out why.png
      why.png: segments and their shares, words against segments, spikes, and what each of the two paths gives
"""


def main() -> None:
    """Parse arguments, explain, draw."""
    parser = CommandParser("python -m gshn.explain", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "image",
        nargs="?",
        type=Path,
        help="a file of any format that Pillow reads and any size; without one, see --index",
    )
    parser.add_argument("--caption", help="the caption; by default the first of image --index")
    parser.add_argument(
        "--index",
        type=whole_number(0, 10**9),
        help="an image of the checkpoint's data, counted from 0, in place of a file",
    )
    parser.add_argument("--split", default="test", help="split of --index (default %(default)s)")
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture")
    arguments = parser.parse_args()
    if (arguments.image is None) == (arguments.index is None):
        parser.error("name an image file or --index, one of them")
    if arguments.image is not None and not arguments.caption:
        parser.error("an image file needs --caption")

    check_destination(arguments.out, [arguments.image])

    from gshn.api.model import load

    model = load(arguments.checkpoint, segmenter=arguments.segmenter, weights=arguments.weights)
    if arguments.image is not None:
        match = model.explain(arguments.image, arguments.caption)
    else:
        images: Any = model.corpora.images(arguments.split, arguments.index + 1)
        if arguments.index >= len(images):
            has = counted(len(images), "image")
            raise ConfigError(f"--index {arguments.index}: {arguments.split} has {has}, counted from 0")
        caption = arguments.caption or images.captions[arguments.index][0]
        match = model.explain(images[arguments.index], caption, categories=images.categories)
    write_atomically(arguments.out, match.png)
    first = ", ".join(f"{name} ({share:.3f})" for name, share in match.strongest())
    print(f"{arguments.out}: similarity {match.similarity:.3f}; segments that drive it most: {first}")


if __name__ == "__main__":
    run_command(main)
