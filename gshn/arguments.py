"""Arguments that the commands of a trained model share."""

from __future__ import annotations

from argparse import ArgumentParser

from gshn.registry import SEGMENTERS


def add_model_arguments(parser: ArgumentParser, checkpoint: str | None = None) -> None:
    """Add ``--checkpoint``, ``--segmenter`` and ``--weights``, which :func:`gshn.load` takes.

    Args:
        parser: Parser of the command.
        checkpoint: Default of ``--checkpoint``. None: the option is required.
    """
    parser.add_argument(
        "--checkpoint",
        default=checkpoint,
        required=checkpoint is None,
        metavar="DIR",
        help="folder that gshn.train wrote, tour, or owner/name on the Hugging Face hub"
        + " (default %(default)s)" * (checkpoint is not None),
    )
    parser.add_argument(
        "--segmenter",
        choices=SEGMENTERS,
        help=f"{SEGMENTERS.help()} (default: the checkpoint's; superpixels for files where that is ground-truth)",
    )
    parser.add_argument("--weights", help="weights of a learned segmenter: a folder, or a name on the hub")
