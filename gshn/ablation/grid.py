"""Grids: a configuration, and the same with one thing changed; what is measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

BASE = "hybrid"
"""What every other variant is compared with."""

PARTS = ("validation", "test")
"""What runs are evaluated on: validation, to choose by; test, to report."""

Figure = tuple[str, str, str]
"""A task, a key of a part's splits (:attr:`Grid.splits`), a metric."""


@dataclass(frozen=True)
class Variant:
    """A configuration of the grid.

    Attributes:
        name: Names it in rows, tables and folders.
        group: Which claim it is about.
        label: Says it in a table.
        overrides: What it changes in its config.
        config: The config; None: the grid's.
    """

    name: str
    group: str
    label: str
    overrides: tuple[str, ...] = ()
    config: str | None = None


@dataclass(frozen=True)
class Grid:
    """Variants that are compared with each other, and how.

    Attributes:
        name: Names it in commands.
        file: Names its results: FILE-validation.json and so on.
        config: The config that variants change.
        variants: Of them, :data:`BASE` first.
        splits: Of each of :data:`PARTS` its splits, by what they are to training.
        figures: What is tabulated, and its name.
        summary: The same for the table of all variants; ``title`` stands at its head.
        quick: What ``--quick`` changes: it shows that everything runs, its figures mean nothing.
        overrides: What is changed in every variant.
        rerank: Candidates of each query that the matching head reorders, too.
        paths: Whether V', spikes and V' without spikes are ranked by alone, too.
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
    overrides: tuple[str, ...] = field(default=())
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
