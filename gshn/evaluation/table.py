"""Figures as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gshn.evaluation.panoptic import PanopticQuality
from gshn.evaluation.retrieval import KS

CAPTIONS = {
    "retrieval": "most detailed",
    "retrieval.reranked": "the same, reranked",
    "retrieval.caption1": "colours and shapes",
    "retrieval.caption2": "one relation",
    "retrieval.caption3": "shapes",
    "retrieval.caption4": "number of things",
}
"""What each caption of ShapeScenes says, by the prefix of its figures."""

PATHS = {
    "retrieval.v": "V' alone",
    "retrieval.v_r0": "V' alone, r = 0",
    "retrieval.spikes": "spikes alone",
    "retrieval.r0": "V' and spikes, r = 0",
}
"""What retrieval ranks by, by the prefix of its figures."""


SHARES = (".accuracy", ".consistency", ".wups_0.9", ".wups_0.0")
"""How the keys of figures end that are printed in percent."""


def print_figures(figures: Mapping[str, float | str], title: str) -> None:
    """Print figures: retrieval with a row per caption, everything else with a row each."""
    console = Console()
    console.print(Text(title, "bold"))  # Not as markup: a folder's name may have brackets.
    if "retrieval.t2i_r1" in figures:
        table = Table(title="retrieval, R@K, %", title_justify="left")
        table.add_column("caption", no_wrap=True)
        columns = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS]
        for column in columns:
            table.add_column(column.replace("_r", "@"), justify="right")
        labels = (
            CAPTIONS
            if "retrieval.caption1.t2i_r1" in figures
            else {"retrieval": "all", "retrieval.reranked": "all, reranked"}
        )
        for prefix, label in (labels | PATHS).items():
            if f"{prefix}.{columns[0]}" in figures:
                table.add_row(label, *(f"{100 * float(figures[f'{prefix}.{column}']):.1f}" for column in columns))
        console.print(table)
    table = Table("figure", "value")
    for key, value in figures.items():
        if not key.startswith("retrieval"):
            table.add_row(key, f"{100 * float(value):.2f} %" if key.endswith(SHARES) else Text(str(value)))
    console.print(table)


def print_quality(figures: Mapping[str, PanopticQuality], title: str) -> None:
    """Print panoptic quality, with a row for things, stuff and so on."""
    table = Table("segments", "PQ", "SQ", "RQ", "categories", title=title, title_justify="left")
    for name, part in figures.items():
        table.add_row(name, *(f"{100 * value:.1f}" for value in (part.pq, part.sq, part.rq)), str(part.categories))
    Console().print(table)
