"""``python -m gshn.train``: pretraining, then the fine-tuning that the config names."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from gshn.cli import CommandParser, run_command
from gshn.config import load_config, named_configs


def main() -> None:
    """Parse arguments, train, print the final figures."""
    parser = CommandParser("python -m gshn.train", description=__doc__)
    parser.add_argument("--config", default="default", help=f"{', '.join(named_configs())}, or a YAML file")
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/<config>)")
    parser.add_argument("--seed", type=int, help="short for seed=N")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. model.spiking.steps=16")
    arguments = parser.parse_args()
    seed = [f"seed={arguments.seed}"] if arguments.seed is not None else []
    config = load_config(arguments.config, [*arguments.overrides, *seed])
    out = arguments.out or Path("runs") / Path(arguments.config).stem

    from gshn.training.loop import Trainer  # imports torch: seconds that a wrong argument should not cost

    trainer = Trainer(config, out, arguments.resume)
    figures = trainer.run()
    if trainer.accelerator.is_main_process:
        print_figures(figures, f"{out}, {trainer.model}")
        print(f"checkpoint: {out}")
        print(f"next:       python -m neuromorphic.export --to lava --checkpoint {out} --out {out}/export")


def print_figures(figures: dict[str, float | str], title: str) -> None:
    """Print figures as a table; fractions as percentages where they are scores."""
    table = Table("figure", "value", title=title, title_justify="left")
    for key, value in figures.items():
        score = isinstance(value, float) and (".accuracy" in key or "_r" in key.rpartition(".")[2])
        table.add_row(key, f"{100 * value:.2f} %" if score else str(value))  # type: ignore[operator]
    Console().print(table)


if __name__ == "__main__":
    run_command(main)
