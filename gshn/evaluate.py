"""``python -m gshn.evaluate``: figures of a checkpoint, with the spiking path run by PyTorch or by Lava."""

from __future__ import annotations

import json
import time
from pathlib import Path

from gshn.cli import CommandParser, run_command, whole
from gshn.config import TASKS, load_config
from gshn.errors import CheckpointError, ConfigError
from gshn.files import write_atomically


def main() -> None:
    """Parse arguments, evaluate, print the figures."""
    parser = CommandParser("python -m gshn.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that gshn.train wrote")
    parser.add_argument("--task", choices=["retrieval", *TASKS], required=True)
    parser.add_argument("--split", default="test", help="e.g. val; of shapescenes-compositions: attributes, relations")
    parser.add_argument(
        "--rerank",
        type=whole(0, 10**9),
        default=0,
        metavar="K",
        help="retrieval: reorder each query's K best by the matching head, too",
    )
    parser.add_argument("--encoder", choices=["torch", "lava"], default="torch", help="what runs the spiking path")
    parser.add_argument("--precision", choices=["float", "fixed"], default="float", help="of Lava's arithmetic")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of data, e.g. data.pairs.segmenter=...")
    arguments = parser.parse_intermixed_args()
    if arguments.rerank and arguments.task != "retrieval":
        parser.error("--rerank needs --task retrieval")
    if arguments.precision == "fixed" and arguments.encoder != "lava":
        parser.error("--precision fixed needs --encoder lava")

    import torch

    from gshn.evaluation.answers import evaluate_task
    from gshn.evaluation.retrieval import evaluate_retrieval
    from gshn.evaluation.table import print_figures
    from gshn.inference import SpikeBackend, SpikeCount
    from gshn.model import GSHN
    from gshn.training.corpora import Corpora

    for override in arguments.overrides:
        if not override.startswith("data."):
            raise ConfigError(f"override {override}: a trained model's own keys are settled; data.* can be changed")
    begun = time.monotonic()
    model = GSHN.from_pretrained(arguments.checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    backend: SpikeBackend | None = None
    if arguments.encoder == "lava":
        if model.encoder.spiking is None or model.encoder.spiking.relu:
            raise CheckpointError(
                f"{arguments.checkpoint} has no spiking path that Lava can run (model.spiking.enabled is false, "
                "model.spiking.neuron is relu, or model.encoder is not hybrid)"
            )
        from neuromorphic.export.backend import LavaBackend

        backend = LavaBackend(model.encoder.spiking, arguments.precision)
    if arguments.task != "retrieval" and arguments.task not in model.vocabulary.answers:
        trained = ", ".join(["retrieval", *model.vocabulary.answers])
        raise CheckpointError(f"{arguments.checkpoint} was not trained on {arguments.task}, but on {trained}")
    config = load_config(arguments.checkpoint / "config.yaml", arguments.overrides)
    corpora = Corpora(config, model.vocabulary)
    count = SpikeCount()
    figures: dict[str, float | str] = {"encoder": arguments.encoder, "precision": arguments.precision}
    figures["split"] = arguments.split
    if arguments.task == "retrieval":
        corpus = corpora.test_pairs_of(arguments.split)
        figures |= evaluate_retrieval(model, corpus, count, backend, arguments.rerank)
    else:
        figures |= evaluate_task(model, corpora.test_texts(arguments.task, arguments.split), count, backend)
    figures["firing_rate"] = round(count.firing_rate, 6)
    figures["seconds"] = round(time.monotonic() - begun, 1)
    print_figures(figures, str(arguments.checkpoint))
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main)
