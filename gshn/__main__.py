"""The command ``gshn``: all commands of this package by their names, ``gshn train`` say."""

from __future__ import annotations

from neuromorphic.cli import run_command, run_subcommand

COMMANDS = {
    "train": "train on images with captions, then on tasks; from scratch or from a checkpoint",
    "evaluate": "evaluate a checkpoint: retrieval, VQA, entailment, NLVR2",
    "explain": "draw which segments of an image match a caption",
    "search": "find the photographs of a folder that a text describes best; indexed once",
    "app": "a page in the browser: photographs with texts, and NIR files",
    "segment": "cut images into segments; train or measure a segmenter",
    "preprocess": "images -> scene graphs in shards that training streams",
    "ablate": "the ablation: one thing changed at a time, over seeds",
}


def main() -> None:
    """Run the command that the first argument names."""
    run_subcommand("gshn", COMMANDS)


def script() -> None:
    """The console script."""
    run_command(main)


if __name__ == "__main__":
    script()
