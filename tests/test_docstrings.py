"""Every public function and class says what it is, and what raises an error says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("gshn", "neuromorphic") for path in (ROOT / package).rglob("*.py"))
COMMANDS = {"main"}
"""Functions that end a command: their errors are the command's, of which its page tells."""
REFERENCES = ("See :", "As :")
"""Beginnings of docstrings that leave the rest to another one."""


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef, bool]]:
    """Name, node, and whether it is a method, of what stands in a module and in its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, False
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner, True


def raised(function: ast.FunctionDef) -> set[str]:
    """Classes of errors that a function raises itself, those of functions within it apart."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func))
        waiting += ast.iter_child_nodes(node)
    return {name for name in found if name.endswith("Error") and name != "NotImplementedError"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_there_and_name_errors(path: Path) -> None:
    faults = []
    for name, node, method in public(ast.parse(path.read_text())):
        told = ast.get_docstring(node) or ""
        # What overrides a method has its docstring from there.
        if not told and not method:
            faults.append(f"{name} has no docstring")
        if not isinstance(node, ast.FunctionDef) or name in COMMANDS or not told or told.startswith(REFERENCES):
            continue
        if (errors := raised(node)) and "Raises:" not in told:
            faults.append(f"{name} raises {', '.join(sorted(errors))} and does not say so")
    assert not faults
