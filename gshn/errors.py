"""Errors that a user can mend. Commands print them as one line and end with exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable


class GSHNError(Exception):
    """Base of all errors caused by input; the message names the file, key or node, and the mend."""


class ConfigError(GSHNError, ValueError):
    """A key or value of the configuration cannot be used."""


class DataError(GSHNError, ValueError):
    """An image, panoptic map, caption file or cached graph cannot be used."""


class CheckpointError(GSHNError, ValueError):
    """A checkpoint folder is missing a file, or does not fit the model."""


class TrainingError(GSHNError, RuntimeError):
    """Training cannot go on (a loss became NaN, say)."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's ``main``; print a :class:`GSHNError` as one line and exit with status 2.

    Ctrl-C exits with status 130, the shell's convention, after one line.
    """
    try:
        main()
    except GSHNError as error:
        message = " ".join(str(error).split())
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
