"""Graph Spiking Hybrid Network (GSHN, arXiv:2501.19069) for vision-language alignment.

``gshn.load`` gives a trained model: docs/api.md. Data flow, which is also the import order of the folders:

``backbones`` -> ``data`` (images, cut into ``segments``) -> ``graphs`` -> ``encoders`` (with ``neurons``) ->
``model`` -> ``losses`` -> ``inference`` -> ``training`` -> ``evaluation`` -> ``export`` and ``profiling`` of what was
trained, by the package ``neuromorphic``, which this one is built on -> ``api``; ``python -m gshn.train`` and ``python
-m gshn.evaluate`` are the entry points.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gshn.api.encoded import Images, Texts
    from gshn.api.model import Model, load
    from gshn.api.results import Answer, ImageNetwork, Match
    from gshn.api.search import Hit, Index
    from neuromorphic.errors import UserError

__version__ = "0.1.0"

_HOMES = {
    "load": "gshn.api.model",
    "Model": "gshn.api.model",
    "Images": "gshn.api.encoded",
    "Texts": "gshn.api.encoded",
    "Answer": "gshn.api.results",
    "Match": "gshn.api.results",
    "ImageNetwork": "gshn.api.results",
    "Index": "gshn.api.search",
    "Hit": "gshn.api.search",
    "UserError": "neuromorphic.errors",
}
"""Imported when they are first asked for: PyTorch takes seconds to import."""

__all__ = ["Answer", "Hit", "ImageNetwork", "Images", "Index", "Match", "Model", "Texts", "UserError", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gshn' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


if sys.argv[0] == "-m":  # As it is only while `python -m gshn.train` imports this package, before the command's module.
    from functools import partial

    from neuromorphic.cli import run_command
    from neuromorphic.requirements import require_extra

    run_command(partial(require_extra, "train"))
