"""Checks of arguments. Each error is one line: the argument, what it is, and what to pass instead."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import ArgumentError


def check_type(what: str, value: object, kinds: type | tuple[type, ...], mend: str) -> None:
    """Check an argument's type.

    Args:
        what: The argument in words.
        value: What was passed.
        kinds: Accepted classes.
        mend: What to pass instead.

    Raises:
        ArgumentError: the value is not an instance of them.
    """
    if not isinstance(value, kinds):
        raise ArgumentError(f"{what} is {described(value)}; {mend}")


def check_choice(what: str, value: object, choices: Collection[str]) -> None:
    """Check that a word is one of the choices.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ArgumentError(f"{what} {printed(value)} is unknown; choose one of {', '.join(choices)}")


def check_names(what: str, names: object, known: Collection[str]) -> tuple[str, ...]:
    """Check names of nodes.

    Returns:
        The names, each once.

    Raises:
        ArgumentError: it is not a collection of names, or one of them is not known.
    """
    single = isinstance(names, str | bytes) or (isinstance(names, np.ndarray) and not names.ndim)
    if single or not isinstance(names, Collection):
        raise ArgumentError(f"{what} is {described(names)}; give a list of names")
    out = tuple(dict.fromkeys(name if isinstance(name, str) else printed(name) for name in names))
    if unknown := [name for name in out if name not in known]:
        raise ArgumentError(f"{what}: {unknown[0]!r} is unknown; choose from {listed(known)}")
    return out


def check_seconds(what: str, value: object) -> float:
    """Check a span of time.

    Raises:
        ArgumentError: it is not a positive, finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentError(f"{what} is {described(value)}; give a positive, finite number of seconds")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"{what} is {seconds:g}; give a positive, finite number of seconds")
    return seconds


def check_count(what: str, value: object, least: int = 1) -> int:
    """Check a whole number.

    Raises:
        ArgumentError: it is none, or less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(f"{what} is {printed(value)}; give a whole number of at least {least}")
    return int(value)


def check_path(what: str, value: object) -> Path:
    """Check that something names a file.

    Raises:
        ArgumentError: it does not.
    """
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise ArgumentError(f"{what} is {described(value)}; give a path")
    return Path(value)


def check_real(what: str, x: object) -> NDArray:
    """Check that something is an array of finite real numbers.

    Raises:
        ArgumentError: it is not a NumPy array, or holds something else; the message names the first bad element.
    """
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray | np.matrix):
        raise ArgumentError(f"{what} is {described(x)}; give a NumPy array")
    if x.dtype.kind not in "fiub":
        raise ArgumentError(f"{what} holds {x.dtype}; give real numbers")
    if found := not_finite(x):
        raise ArgumentError(f"{what} is {found}; give finite numbers")
    return x


def not_finite(x: NDArray) -> str:
    """The first element that is not finite, as ``NaN at [0, 3]`` or ``infinite at [0, 3]``; empty where all are."""
    if x.dtype.kind != "f":
        return ""
    finite = np.isfinite(x)
    if finite.all():
        return ""
    first = tuple(int(k) for k in np.argwhere(~np.atleast_1d(finite))[0])
    what = "NaN" if np.isnan(np.atleast_1d(x)[first]) else "infinite"
    return f"{what} at {list(first)}" if x.ndim else what


def described(value: object) -> str:
    """The kind of a value in words, for an error."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {printed(value)}"
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "numpy") else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def printed(value: Any) -> str:
    """A value as one short line of text."""
    try:
        plain = value.item() if isinstance(value, np.generic) else value  # numpy 2 would say np.float64(0.1)
        words = " ".join(repr(plain).split())
    except Exception:  # The value's own; an error message must not fail over it.
        words = type(value).__name__
    return words if len(words) <= 60 else f"{words[:60]}..."


def listed(names: Collection[str], most: int = 8) -> str:
    """The first names, as text for an error."""
    shown = ", ".join(list(names)[:most])
    return (f"{shown}, ..." if len(names) > most else shown) or "none"
