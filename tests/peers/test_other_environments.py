"""What make test-peers runs in other environments is there: it takes half an hour, so few run it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import EVERY_NIR, GOLDEN_FILES

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("test", [GOLDEN_FILES, *EVERY_NIR])
def test_tests_for_other_environments_are_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name or 'test_'}" in (ROOT / file).read_text()
