"""``python -m gshn.ablate``: the ablation, with one thing changed at a time, over seeds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gshn.ablation.grid import BASE, PARTS
from gshn.ablation.photographs import PHOTOGRAPHS
from gshn.ablation.scenes import SCENES
from gshn.errors import ConfigError
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.errors import counted
from neuromorphic.files import Lock, make_folder, write_atomically

EXAMPLES = """
examples:
  python -m gshn.ablate --quick --out runs/quick                    # every variant in a few steps: shows that all runs
  python -m gshn.ablate --variants gat snn --seeds 3 --jobs 2
  python -m gshn.ablate --grid photographs --out runs/photographs-grid --set data.pairs.source=flickr8k:DIR
  python -m gshn.ablate --report                                    # tables and picture of what was run before
"""


GRIDS = {grid.name: grid for grid in (SCENES, PHOTOGRAPHS)}


def main() -> None:
    """Parse arguments, run what is missing of that, and write rows, tables and picture of all that the folder has."""
    parser = CommandParser("python -m gshn.ablate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"), help="folder of runs and results")
    parser.add_argument(
        "--grid",
        choices=list(GRIDS),
        default="scenes",
        help="what is compared: all tasks on drawn scenes, or retrieval on photographs, which --set names "
        "(default scenes)",
    )
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        help="what to run (default: all); "
        + "; ".join(f"of {grid.name}: {', '.join(grid.by_name)}" for grid in GRIDS.values()),
    )
    parser.add_argument(
        "--on",
        choices=PARTS,
        default="validation",
        help="splits that are evaluated: validation, to choose a design; test, once, to report it (default validation)",
    )
    parser.add_argument("--seeds", type=whole_number(1, 1000), default=5, help="seeds 0 to N - 1 of every variant")
    parser.add_argument("--jobs", type=whole_number(1, 1000), default=1, help="runs at the same time, one thread each")
    parser.add_argument("--quick", action="store_true", help="a few steps each, to see that everything runs")
    parser.add_argument("--cache", default="cache", help="folder of computed scene graphs")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="overrides for every variant")
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="rows of an earlier report, made elsewhere with the same --set: what they have is not run again, and "
        "stands in the report",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="train nothing: write tables and picture of the runs in --out, or of the rows of an earlier report there",
    )
    arguments = parser.parse_args()
    grid = GRIDS[arguments.grid]
    names = list(dict.fromkeys([BASE, *(arguments.variants or grid.by_name)]))
    if unknown := [name for name in names if name not in grid.by_name]:
        parser.error(f"--variants {unknown[0]}: the grid {grid.name} has {', '.join(grid.by_name)}")

    from rich.console import Console
    from rich.table import Table

    from gshn.ablation.run import cells, check_rows, collect, merged, read_rows, run_grid
    from gshn.ablation.summary import markdown, picture, tables

    if arguments.rows is not None and not arguments.rows.is_file():
        raise ConfigError(f"--rows {arguments.rows}: no such file; leave the option out to run everything")
    earlier = [] if arguments.rows is None else read_rows(arguments.rows)
    check_rows(earlier, grid, arguments.on, arguments.rows)
    out = make_folder(arguments.out)
    if not arguments.report:
        known = {(row["variant"], row["seed"]) for row in earlier}
        wanted = [c for c in cells(grid, names, arguments.seeds, out) if (c.variant.name, c.seed) not in known]
        with Lock(out / ".lock", str(out), "wait for it to end, or choose another --out"):
            run_grid(wanted, arguments.on, arguments.set, arguments.cache, arguments.quick, arguments.jobs)
    name = f"{grid.file}-{arguments.on}"
    rows = merged(grid, earlier, collect(grid, out, arguments.on)) or read_rows(out / f"{name}.json")
    if not rows:
        raise ConfigError(f"{out} has no run that is done on {arguments.on}, and no {name}.json; leave --report out")
    write_atomically(out / f"{name}.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(out / f"{name}.md", markdown(grid, rows))
    write_atomically(out / f"{name}.png", picture(grid, rows))
    short = {variant.label: variant.name for variant in grid.variants}
    for task, (head, *body) in tables(grid, rows).items():
        for place in range(2, len(head), 2):  # a figure and the lead in it: all of them are wider than a terminal
            table = Table(*head[:2], *head[place : place + 2], title=f"{task}, %", title_justify="left")
            for label, seeds, *figures in body:
                # Labels are sentences, which a terminal's column breaks into words.
                own = figures[place - 2 : place]
                shown = (f"[bold]{text.strip('*')}[/bold]" if text.startswith("**") else text for text in own)
                table.add_row(short[label], seeds, *shown)
            Console().print(table)
    print(
        f"{out / f'{name}.json'}: {counted(len(rows), 'figure')}; {name}.md and {name}.png, tables and picture of them"
    )
    # Rows alone, of runs elsewhere, leave nothing to go on from.
    if (trained := out / BASE / "0").is_dir():
        print_next(next_command(arguments, trained))


def next_command(arguments: argparse.Namespace, trained: Path) -> list[object]:
    """What follows a report: the whole grid after a quick one, test after validation, and then what the base costs."""
    words: list[object] = ["gshn.ablate", "--grid", arguments.grid, "--seeds", arguments.seeds]
    words += ["--jobs", arguments.jobs, "--cache", arguments.cache]
    words += ["--variants", *arguments.variants] if arguments.variants else []
    words += ["--set", *arguments.set] if arguments.set else []
    if arguments.quick:
        return [*words, "--on", arguments.on, "--out", f"{arguments.out}-whole"]
    if arguments.on == "validation":
        return [*words, "--on", "test", "--out", arguments.out]
    return ["neuromorphic.profile", "--checkpoint", trained, "--out", trained / "profile"]


if __name__ == "__main__":
    run_command(main)
