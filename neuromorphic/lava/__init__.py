"""Run networks on Intel's Lava in a child process, and make Lava processes of graphs.

``neuromorphic.lava.compile`` is :func:`neuromorphic.lava.compiled.process.compile`, imported when it is used: this
package imports without Lava.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuromorphic.lava.compiled.process import compile

__all__ = ["compile"]


def __getattr__(name: str) -> Any:
    """Import ``compile`` on its first use.

    Raises:
        LavaMissingError: Lava is not installed.
    """
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from neuromorphic.lava.compat import mend_lava

    mend_lava()
    from neuromorphic.lava.compiled import process

    return getattr(process, name)
