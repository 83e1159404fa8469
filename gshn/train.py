"""``python -m gshn.train``: pretraining, then the fine-tuning that the config names."""

from __future__ import annotations

from pathlib import Path

from gshn.config import Config, load_config, named_configs
from gshn.hub import checkpoint_folder
from gshn.launchers import processes, share
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number

EXAMPLES = """
examples:
  python -m gshn.train                                                # the default: drawn scenes, captions, questions
  python -m gshn.train --config smoke --out runs/smoke                # every stage in under a minute
  python -m gshn.train --config photographs --out runs/mine data.pairs.source=captions:photos/captions.csv
      captions.csv: columns such as 'image' and 'caption', one caption in each row; .tsv and JSON lines work, too. A
      column 'split' says what is trained on, else 80 % of the images are (docs/own-images.md)
  python -m gshn.train --config photographs --processes auto --out runs/photographs data.pairs.source=flickr8k:flickr8k
  python -m gshn.train --init runs/mine --out runs/more data.pairs.source=captions:more/captions.csv
  python -m gshn.train --resume --out runs/mine --config photographs data.pairs.source=captions:photos/captions.csv
"""


def main() -> None:
    """Parse arguments, train, print the final figures."""
    parser = CommandParser("python -m gshn.train", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "--config",
        help=f"{', '.join(named_configs())}, or a YAML file (default: default; with --init the checkpoint's)",
    )
    parser.add_argument(
        "--init", metavar="DIR", help="start from a finished checkpoint, a folder or owner/name on the Hugging Face hub"
    )
    parser.add_argument("--out", type=Path, help="the run's folder (default: runs/<config>)")
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), help="random seed, short for seed=N")
    parser.add_argument(
        "--resume", action="store_true", help="continue from the folder's last training state, bit for bit"
    )
    parser.add_argument(
        "--processes",
        type=processes,
        default=1,
        metavar="N|auto",
        help="processes of this machine that train together (default 1); auto: one for each GPU",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="e.g. model.spiking.steps=16; config.yaml of any run lists all keys",
    )
    arguments = parser.parse_args()
    seed = [f"seed={arguments.seed}"] if arguments.seed is not None else []
    if arguments.init is not None:
        if arguments.out is None:
            parser.error("--init needs --out, the folder of the new run")
        seed.append(f"init={arguments.init}")
        own = checkpoint_folder(arguments.init) / "config.yaml"
    else:
        own = Path("default")
    config = load_config(arguments.config or own, [*arguments.overrides, *seed])
    out = arguments.out or Path("runs") / Path(arguments.config or own).stem

    # On CPUs several processes were no faster (docs/gpus.md).
    share("gshn.train", arguments.processes, lambda: train(config, out, arguments.resume))


def train(config: Config, out: Path, resume: bool) -> None:
    """Train in this process, with others that a launcher has started; the first one prints the final figures."""
    # Late: PyTorch takes seconds to import, which a wrong argument should not cost.
    from gshn.evaluation.table import print_figures
    from gshn.training.loop import Trainer

    trainer = Trainer(config, out, resume)
    figures = trainer.run()
    if trainer.accelerator.is_main_process:
        print_figures(figures, f"{out}, {trainer.model}")
        print(f"checkpoint: {out} (model card: {out / 'README.md'})")
        commands: list[list[object]] = [
            ["gshn.evaluate", "--checkpoint", out, "--task", task] for task in ["retrieval", *config.finetune.tasks]
        ]
        if (spiking := trainer.model.encoder.spiking) is not None and spiking.neuron.spikes:
            commands.append(["neuromorphic.export", "--to", "lava", "--checkpoint", out, "--out", out / "export"])
        print_next(*commands)


if __name__ == "__main__":
    run_command(main)
