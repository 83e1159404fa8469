"""``python -m gshn.ablate``: the method against itself with one thing changed, over seeds."""

from __future__ import annotations

import json
from pathlib import Path

from gshn.ablation.grid import BASE, VARIANTS
from gshn.cli import CommandParser, run_command, whole
from gshn.errors import ConfigError
from gshn.files import make_folder, write_atomically


def main() -> None:
    """Parse arguments, run what is missing of that, and write rows, tables and picture of all that the folder has."""
    parser = CommandParser("python -m gshn.ablate", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of runs and results")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME", help="what to run"
    )
    parser.add_argument("--seeds", type=whole(1, 1000), default=5, help="seeds 0 to N - 1 of every variant")
    parser.add_argument("--jobs", type=whole(1, 1000), default=1, help="runs at a time, of one thread each")
    parser.add_argument("--quick", action="store_true", help="a few steps: shows that everything runs")
    parser.add_argument("--cache", default="cache", help="folder of computed scene graphs")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="overrides for every variant")
    parser.add_argument(
        "--report",
        action="store_true",
        help="train nothing: write tables and picture of the runs in --out, or of its ablation.json",
    )
    arguments = parser.parse_args()
    names = list(dict.fromkeys([BASE, *arguments.variants]))

    from rich.console import Console
    from rich.table import Table

    from gshn.ablation.report import markdown, picture, tables
    from gshn.ablation.run import cells, collect, read_rows, run_grid

    out = make_folder(arguments.out)
    if not arguments.report:
        wanted = cells([VARIANTS[name] for name in names], arguments.seeds, out)
        run_grid(wanted, arguments.set, arguments.cache, arguments.quick, arguments.jobs)
    rows = collect(out) or read_rows(out / "ablation.json")
    if not rows:
        raise ConfigError(f"{out} has no finished run and no ablation.json to report; leave --report out")
    write_atomically(out / "ablation.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(out / "ablation.md", markdown(rows))
    write_atomically(out / "ablation.png", picture(rows))
    short = {variant.label: variant.name for variant in VARIANTS.values()}
    for task, (head, *body) in tables(rows).items():
        table = Table(*head, title=f"{task}, %", title_justify="left")
        for label, *figures in body:
            # Labels are sentences, which a terminal's column breaks into words.
            shown = (f"[bold]{text.strip('*')}[/bold]" if text.startswith("**") else text for text in figures)
            table.add_row(short[label], *shown)
        Console().print(table)
    print(f"{out}/ablation.json, ablation.md, ablation.png: {len(rows)} figures")


if __name__ == "__main__":
    run_command(main)
