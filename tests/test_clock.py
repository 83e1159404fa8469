"""No test depends on how fast the machine is: only pytest's limit, hours, ends what hangs."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_wait_has_a_limit_of_its_own(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                limited = keyword.arg in ("timeout", "deadline") and isinstance(keyword.value, ast.Constant)
                # Half a second for a child that sleeps for a day: the test of a deadline.
                if limited and isinstance(keyword.value, ast.Constant) and keyword.value.value not in (None, 0.5):
                    raise AssertionError(f"{path.name}:{node.lineno}: {keyword.arg}={keyword.value.value}")


def test_the_limit_of_a_test_is_hours() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert settings["timeout"] >= 2 * 3600
