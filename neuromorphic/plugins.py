"""Registry of packages that read checkpoints of models. This package reads none itself.

A package registers with an entry point of the group :data:`GROUP`. It names an object, such as a module, that has the
members of :class:`CheckpointTools`:

    [project.entry-points."neuromorphic.checkpoints"]
    gshn = "gshn.deployment"
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from neuromorphic.errors import PackagesMissingError, UserError

if TYPE_CHECKING:
    from neuromorphic.backends import Precision
    from neuromorphic.doctor import Finding

GROUP = "neuromorphic.checkpoints"


class CheckpointTools(Protocol):
    """Functions that a package offers for its checkpoints."""

    NEEDS: Mapping[str, tuple[str, ...]]
    """Rows of :mod:`neuromorphic.doctor`, as its own."""

    def findings(self) -> Mapping[str, list[Finding]]:
        """Further rows of :mod:`neuromorphic.doctor`, by command."""
        ...

    def export(self, checkpoint: Path, out: Path, to: str, images: int, precision: Precision) -> None:
        """``python -m neuromorphic.export --checkpoint``: write into the folder ``out``, print what was written."""
        ...

    def profile(
        self,
        checkpoint: Path,
        out: Path,
        images: int,
        backend: str,
        precision: Precision,
        compare: Sequence[Path],
        energy_models: Path | None,
        measure: bool,
    ) -> None:
        """``python -m neuromorphic.profile --checkpoint``: write report.json and report.html, print a summary."""
        ...


def registered() -> list[EntryPoint]:
    """The registered packages. A checkout that is on the path but not installed registers by its pyproject.toml."""
    found = list(entry_points(group=GROUP))
    source = Path(__file__).parent.parent / "pyproject.toml"
    if not found and source.is_file():
        declared = tomllib.loads(source.read_text()).get("project", {}).get("entry-points", {}).get(GROUP, {})
        found = [EntryPoint(name, value, GROUP) for name, value in declared.items()]
    return sorted(found, key=lambda point: point.name)


def checkpoint_tools() -> CheckpointTools:
    """The tools of the package that reads checkpoints.

    Raises:
        PackagesMissingError: none is registered, or what it needs is not installed.
    """
    points = registered()
    if not points:
        raise PackagesMissingError(
            f"no installed package reads checkpoints (entry points '{GROUP}'): pip install 'gshn[train]', or name a NIR"
            " file with --nir"
        )
    with needing_packages():
        return cast(CheckpointTools, points[0].load())


@contextmanager
def needing_packages() -> Iterator[None]:
    """Turn a missing import into one line.

    Raises:
        PackagesMissingError: something could not be imported.
    """
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise PackagesMissingError(f"checkpoints need more packages ({error}): pip install 'gshn[train]'") from None
