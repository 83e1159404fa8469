"""Errors of training and data, beside those of :mod:`neuromorphic.errors`."""

from __future__ import annotations

import logging
from functools import cache

from neuromorphic.errors import UserError

logger = logging.getLogger(__name__)


class ConfigError(UserError, ValueError):
    """A key or value of the configuration cannot be used."""


class DataError(UserError, ValueError):
    """An image, panoptic map, caption file or cached graph cannot be used."""


class MissingError(DataError):
    """A file, folder or split of a data set is not there."""


class CheckpointError(UserError, ValueError):
    """A checkpoint folder is missing a file, or does not fit the model."""


class TrainingError(UserError, RuntimeError):
    """Training cannot continue: a loss became NaN, for example."""


@cache
def tell(message: str) -> None:
    """Log a warning about data that does not stop a run. Each message is logged once."""
    logger.warning("%s", message)
