"""The command ``gshn``: all commands of this package by their names, ``gshn train`` say."""

from __future__ import annotations

from neuromorphic.cli import run_command, run_subcommand

COMMANDS = {
    "train": "train on images with captions, then on tasks; start, go on, or start from a checkpoint",
    "evaluate": "figures of a checkpoint: retrieval, questions, entailment, statements",
    "explain": "a picture of which segments of an image drive its match with a caption",
    "search": "the photographs of a folder that a text describes best; indexed once",
    "app": "a page in the browser: photographs with texts, and NIR files",
    "segment": "cut images into segments; train or measure a segmenter",
    "preprocess": "images -> scene graphs in shards that training streams",
    "ablate": "the method against itself with one thing changed, over seeds",
}


def main() -> None:
    """Run the command that the first argument names."""
    run_subcommand("gshn", COMMANDS)


def script() -> None:
    """The console script."""
    run_command(main)


if __name__ == "__main__":
    script()
