"""Grids: a configuration, and the same with one thing changed; what is measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

BASE = "hybrid"
"""The variant that all others are compared with."""

PARTS = ("validation", "test")
"""Evaluation splits: ``validation`` to choose a design on, ``test`` to report on."""

Figure = tuple[str, str, str]
"""A task, a key of a part's splits (:attr:`Grid.splits`), a metric."""


@dataclass(frozen=True)
class Variant:
    """A configuration of the grid.

    Attributes:
        name: Name in rows and folders.
        label: Its description in tables.
        overrides: Changes to its config.
        config: The name of its config. None: the grid's.
    """

    name: str
    label: str
    overrides: tuple[str, ...] = ()
    config: str | None = None


@dataclass(frozen=True)
class Grid:
    """Variants that are compared with each other, and how.

    Attributes:
        name: Name in commands.
        file: First part of the names of result files: FILE-validation.json and so on.
        config: Name of the config that variants change.
        variants: The variants, :data:`BASE` first.
        splits: Splits of each of :data:`PARTS`. Their keys are the second part of a :data:`Figure`.
        figures: Figures of the tables, with their names.
        summary: Figures of the table that has all tasks, by their names.
        title: Head of that table.
        quick: Changes for ``--quick``, a run that shows that everything works. Its figures mean nothing.
        overrides: Changes to the config of every variant.
        rerank: Candidates of each query that the matching head reorders; 0 for none.
        paths: Whether retrieval is also measured by V' alone, by spikes alone, and with r = 0.
    """

    name: str
    file: str
    config: str
    variants: tuple[Variant, ...]
    splits: Mapping[str, Mapping[str, str]]
    figures: Mapping[Figure, str]
    summary: Mapping[str, Figure]
    title: str
    quick: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    rerank: int = 0
    paths: bool = False

    @cached_property
    def by_name(self) -> dict[str, Variant]:
        """The variants by their names."""
        return {variant.name: variant for variant in self.variants}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What each split is to training."""
        return {split: kind for splits in self.splits.values() for kind, split in splits.items()}
