"""Shared fixtures; small builders are in helpers.py."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gshn.errors import tell

# helpers.py, and scenarios.py of neuromorphic's tests.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "neuromorphic")]

# Nothing is downloaded, and a test that tried would hang where there is no network.
os.environ["HF_HUB_OFFLINE"] = "1"


# An example may take as long as it takes.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of Lava where it is not installed."""
    if find_spec("lava") is None:
        for item in items:
            if item.get_closest_marker("lava"):
                item.add_marker(pytest.mark.skip(reason="lava-nc is not installed: doctor --install lava"))


def escaped(text: str) -> str:
    """Text without lone surrogates, which broken files bring: processes that share tests talk in UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Escape what warnings say."""
    told = str(warning_message.message)
    if escaped(told) != told:
        warning_message.message = warning_message.category(escaped(told))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what was printed and logged."""
    report = yield
    report.sections = [(name, escaped(text)) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    """What is told once a process is told in every test that listens."""
    tell.cache_clear()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Override that puts the graph cache where all tests share it."""
    return f"data.cache={tmp_path_factory.mktemp('cache')}"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: str) -> Path:
    """Folder of a finished run of a few steps."""
    from helpers import STEPS, finish, start

    out = tmp_path_factory.mktemp("run") / "whole"
    stdout, stderr = finish(start(out, cache, *STEPS))
    assert f"next:       python -m gshn.evaluate --checkpoint {out} --task retrieval\n" in stdout
    assert "python -m neuromorphic.export --to lava" in stdout
    assert "images/s" in stderr
    assert "loss=" in stderr
    return out
