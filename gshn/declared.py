"""What the modules of a folder declare, read without importing them: a slip in a configuration costs no wait."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any


@cache
def declared(folder: Path, constant: str) -> dict[str, Any]:
    """The value of a constant, which is written out as a literal, of every module of a folder that has it.

    Returns:
        By name of the module, in their order.
    """
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == constant:
                found[path.stem] = ast.literal_eval(node.value)
    return found
