"""Errors that a user can correct. Commands print them as one line and end with status 2 (:mod:`neuromorphic.cli`)."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 image``, ``3 images``.

    Args:
        number: The number.
        one: Noun or phrase for 1, such as ``image is``.
        many: Noun or phrase for all other numbers, such as ``images are``; None: ``one`` with an s.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"


class UserError(Exception):
    """Base of all errors that a user can correct. The message names the file, key or node, and says what to change."""


class UserNotice(UserWarning):
    """A warning: unusual input was read in its only sensible meaning, or left out. Commands print it as one line."""


class ArgumentError(UserError, ValueError):
    """An argument of a function or a command has the wrong type, or an unknown value."""


class NIRFileError(UserError, ValueError):
    """A file cannot be read as a NIR graph."""


class UnsupportedGraphError(UserError, ValueError):
    """A NIR graph cannot be computed exactly; the message names the node."""


class LavaMissingError(UserError, ImportError):
    """Lava is not installed."""


class LavaRunError(UserError, RuntimeError):
    """A run on Lava failed or did not end in time."""


class SignalFileError(UserError, ValueError):
    """A file of inputs cannot be used."""


class EnergyModelError(UserError, ValueError):
    """A file of energy models cannot be used."""


class PackagesMissingError(UserError, ImportError):
    """Optional packages that are needed here are not installed."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
