"""Errors that a user can mend. Commands print them as one line and end with exit status 2 (:mod:`gshn.cli`)."""

from __future__ import annotations

import logging
from functools import cache

logger = logging.getLogger(__name__)


class GSHNError(Exception):
    """Base of all errors caused by input; the message names the file, key or node, and the mend."""


class GSHNWarning(UserWarning):
    """Something that was read in the one way that makes sense, or left out; commands print it as one line."""


class ConfigError(GSHNError, ValueError):
    """A key or value of the configuration cannot be used."""


class DataError(GSHNError, ValueError):
    """An image, panoptic map, caption file or cached graph cannot be used."""


class MissingError(DataError):
    """A file, folder or split of a data set is not there."""


class CheckpointError(GSHNError, ValueError):
    """A checkpoint folder is missing a file, or does not fit the model."""


class TrainingError(GSHNError, RuntimeError):
    """Training cannot go on (a loss became NaN, say)."""


@cache
def tell(message: str) -> None:
    """Log what is amiss with data and can be lived with: once, however often it is met."""
    logger.warning("%s", message)


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
