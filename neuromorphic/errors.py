"""Errors that a user can mend; commands print them as one line (see :func:`gshn.cli.run_command`)."""

from __future__ import annotations

from gshn.errors import GSHNError


class ArgumentError(GSHNError, ValueError):
    """An argument of a function is of the wrong type, or nothing that is known."""


class NIRFileError(GSHNError, ValueError):
    """A file cannot be read as a NIR graph."""


class UnsupportedGraphError(GSHNError, ValueError):
    """A NIR graph says something that cannot be computed exactly; the message names the node."""


class PackagesMissingError(GSHNError, ImportError):
    """Packages of an extra are not installed."""


class LavaMissingError(GSHNError, ImportError):
    """Lava is not installed."""


class LavaRunError(GSHNError, RuntimeError):
    """A run on Lava failed or did not end in time."""


class SignalFileError(GSHNError, ValueError):
    """A file of inputs cannot be used."""
