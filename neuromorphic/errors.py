"""Errors that a user can mend. Commands print them as one line and end with exit status 2 (:mod:`neuromorphic.cli`)."""

from __future__ import annotations


class UserError(Exception):
    """Base of all errors that a user can mend; the message names the file, key or node, and the mend."""


class UserNotice(UserWarning):
    """A warning: input that was read in the only sensible way, or left out. Commands print it as one line."""


class ArgumentError(UserError, ValueError):
    """An argument of a function or a command is of the wrong type, or nothing that is known."""


class NIRFileError(UserError, ValueError):
    """A file cannot be read as a NIR graph."""


class UnsupportedGraphError(UserError, ValueError):
    """A NIR graph says something that cannot be computed exactly; the message names the node."""


class LavaMissingError(UserError, ImportError):
    """Lava is not installed."""


class LavaRunError(UserError, RuntimeError):
    """A run on Lava failed or did not end in time."""


class SignalFileError(UserError, ValueError):
    """A file of inputs cannot be used."""


class EnergyModelError(UserError, ValueError):
    """A file of energy models cannot be used."""


class PackagesMissingError(UserError, ImportError):
    """Packages that are needed for this alone are not installed."""


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
