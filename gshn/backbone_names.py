"""The grammar of ``graph.backbone``, NAME[@SIZE][+NAME[@SIZE]...]; read without PyTorch: a slip costs no wait."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gshn.errors import ConfigError
from gshn.registry import BACKBONES

TRAINED = "small_conv"
"""The backbone that is trained with the model; all others are frozen."""
SIZES = range(16, 4097)
"""What SIZE can be, pixels."""


@dataclass(frozen=True)
class BackboneName:
    """One backbone of ``graph.backbone``.

    Attributes:
        name: NAME, with what follows its colon.
        size: SIZE, the pixels that the longer side of its images is scaled to; None where they are taken as they are.
    """

    name: str
    size: int | None


def parse_backbone(text: str) -> list[BackboneName]:
    """The backbones that ``graph.backbone`` names.

    What follows a colon may hold any character: a ``+`` parts two backbones only where a known name follows it, and
    ``@`` with digits is a size only at the end. (A folder whose own name ends so is written with a slash after it.)

    Raises:
        ConfigError: no such backbone, or no such size.
    """
    # Of NAME:WHAT the part before WHAT; of NAME all of it.
    ends = {":": ":", "[": "(?=[@+:]|$)", "": "(?=[@+]|$)"}
    kinds = BACKBONES.kinds.values()
    starts = [re.escape(kind.name) + ends[kind.form[len(kind.name) :][:1]] for kind in kinds]
    found = [_parse_one(part, text) for part in re.split(rf"\+(?={'|'.join(starts)})", text)]
    if len(found) > 1 and any(part.name == TRAINED for part in found):
        raise _error(text, f"{TRAINED} is trained with the model and stands alone")
    return found


def _parse_one(part: str, text: str) -> BackboneName:
    match = re.fullmatch(r"(.*?)(?:@([0-9]+))?", part, re.DOTALL)
    assert match is not None
    name, size = match.groups()
    if name not in BACKBONES:
        choices = ", ".join(BACKBONES)
        raise _error(text, f"choose one of {choices}, or several with + between them, each with @PIXELS where wanted")
    if size is None:
        return BackboneName(name, None)
    if name == TRAINED:
        raise _error(text, f"{TRAINED} takes images as they are; leave @{size} out")
    if len(size) > 4 or int(size) not in SIZES:
        raise _error(text, f"@{size} must lie in [{SIZES[0]}, {SIZES[-1]}] pixels")
    return BackboneName(name, int(size))


def _error(text: str, mend: str) -> ConfigError:
    return ConfigError(f"config key 'graph.backbone' is {text!r}: {mend}")
