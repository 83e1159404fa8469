"""``python -m gshn.evaluate``: evaluate a checkpoint on a task, with the spiking path in PyTorch or on Lava."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gshn.config import load_config
from gshn.data.tasks import TASKS
from gshn.errors import CheckpointError, ConfigError, DataError, tell
from gshn.hub import checkpoint_folder
from neuromorphic.cli import CommandParser, print_next, run_command, whole_number
from neuromorphic.errors import UserError, counted
from neuromorphic.files import check_destination, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from gshn.data.images import ImageCollection
    from gshn.evaluation.retrieval import Look
    from gshn.training.batches import PairCorpus
    from gshn.training.corpora import Corpora


EXAMPLES = """
examples:
  python -m gshn.evaluate --checkpoint runs/default --task retrieval
  python -m gshn.evaluate --checkpoint runs/default --task vqa --json figures.json
  python -m gshn.evaluate --checkpoint runs/coco --task retrieval --rerank 32 data.pairs.source=flickr8k:DIR
      other images than the checkpoint's: a data set in its official layout, captions:FILE, or shards (docs/data.md)
"""


def main() -> None:
    """Parse arguments, evaluate, print the figures."""
    parser = CommandParser("python -m gshn.evaluate", description=__doc__, epilog=EXAMPLES)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that gshn.train wrote, or owner/name on the Hugging Face hub",
    )
    parser.add_argument(
        "--task",
        choices=["retrieval", *TASKS],
        required=True,
        help="retrieval: images for captions and captions for images; vqa: answers to questions; entailment: whether a "
        "text follows from an image; nlvr2: whether a statement about two images is true",
    )
    parser.add_argument(
        "--split",
        default="test",
        help="test (the default), val or train; for retrieval also several together, such as train+val; for "
        "shapescenes-compositions also validation-attributes and validation-relations, to choose a design on, and "
        "attributes and relations, to report it",
    )
    parser.add_argument(
        "--rerank",
        type=whole_number(0, 10**9),
        default=0,
        metavar="K",
        help="retrieval: reorder each query's K best with the matching head",
    )
    parser.add_argument(
        "--paths",
        action="store_true",
        help="also evaluate with r = 0 in V' = r E_SNN + F_GAT; for retrieval also by V' alone and by spikes alone",
    )
    parser.add_argument(
        "--encoder",
        choices=["torch", "lava"],
        default="torch",
        help="what runs the spiking path: PyTorch, or Intel's Lava simulator (default: torch)",
    )
    parser.add_argument(
        "--precision",
        choices=["float", "fixed"],
        default="float",
        help="Lava's arithmetic. float: float64; fixed: Loihi's integers, 8-bit weights and 24-bit states (default: "
        "float)",
    )
    parser.add_argument(
        "--gallery",
        type=Path,
        metavar="PNG",
        help="retrieval: draw the queries with the best and the worst ranks, and their first results",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--submission",
        type=Path,
        metavar="FILE",
        help="tasks with answers: write the answers to this file, in the official format",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of data.*, e.g. data.pairs.segmenter=..."
    )
    arguments = parser.parse_intermixed_args()
    if arguments.rerank and arguments.task != "retrieval":
        parser.error("--rerank needs --task retrieval")
    if arguments.gallery is not None:
        if arguments.task != "retrieval" or "+" in arguments.split:
            parser.error("--gallery needs --task retrieval and one split")
        check_destination(arguments.gallery)
    if arguments.precision == "fixed" and arguments.encoder != "lava":
        parser.error("--precision fixed needs --encoder lava")
    if arguments.submission is not None:
        if arguments.task == "retrieval":
            parser.error("--submission needs a --task that has answers")
        check_destination(arguments.submission)

    if arguments.json is not None:
        check_destination(arguments.json)

    import torch

    from gshn.evaluation.answers import answer_all, check_trained, task_figures
    from gshn.evaluation.retrieval import evaluate_retrieval, without_spikes_in_v
    from gshn.evaluation.submission import submission
    from gshn.evaluation.table import print_figures
    from gshn.inference import SpikeBackend, SpikeCount
    from gshn.model import GSHN
    from gshn.training.corpora import Corpora

    for override in arguments.overrides:
        if not override.startswith("data."):
            raise ConfigError(f"override {override}: a trained model's own keys are settled; data.* can be changed")
    begun = time.monotonic()
    folder = checkpoint_folder(arguments.checkpoint)
    model = GSHN.from_pretrained(folder)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    backend: SpikeBackend | None = None
    if arguments.encoder == "lava":
        if model.encoder.spiking is None or not model.encoder.spiking.neuron.spikes:
            raise CheckpointError(
                f"{arguments.checkpoint} has no spiking path that Lava can run (model.spiking.enabled is false, "
                "model.spiking.neuron does not spike, or model.encoder is not hybrid)"
            )
        from gshn.export.backend import LavaBackend

        backend = LavaBackend(model.encoder.spiking, arguments.precision)
    if arguments.paths and (model.encoder.spiking is None or not hasattr(model.encoder, "r")):
        raise CheckpointError(
            f"{arguments.checkpoint} has not both paths, so that none can be left out (--paths): model.encoder is not "
            "hybrid, or model.spiking.enabled is false"
        )
    if arguments.task != "retrieval":
        check_trained(model, arguments.task, str(arguments.checkpoint))
    config = load_config(folder / "config.yaml", arguments.overrides)
    corpora = Corpora(config, model.vocabulary)
    check_against_training(folder, corpora, arguments.task, arguments.split)
    count = SpikeCount()
    figures: dict[str, float | str] = {"encoder": arguments.encoder, "precision": arguments.precision}
    figures["split"] = arguments.split
    if arguments.task == "retrieval":
        corpus = corpora.test_pairs_of(arguments.split)
        look = None
        if arguments.gallery is not None:
            images = corpora.images(arguments.split, config.data.pairs.test)
            look = gallery(corpus, images, arguments.gallery, str(arguments.checkpoint))
        figures |= evaluate_retrieval(model, corpus, count, backend, arguments.rerank, arguments.paths, look)
    else:
        # Before the graphs are made, which may take hours.
        asked = corpora.task_texts(arguments.task, arguments.split)
        if arguments.submission is not None:
            submission(arguments.task, [text.id for text in asked], [""] * len(asked))
        elif not any(text.answers for text in asked):
            raise DataError(
                f"the answers of split {arguments.split} are not published: there is no figure; write the answers "
                "for its own evaluation with --submission FILE"
            )
        texts = corpora.test_texts(arguments.task, arguments.split)
        predicted = answer_all(model, texts, count, backend)
        figures |= task_figures(texts, predicted)
        if arguments.paths:
            with without_spikes_in_v(model):
                silent = task_figures(texts, answer_all(model, texts, SpikeCount(), backend))
            figures |= {f"r0.{key}": value for key, value in silent.items()}
    figures["firing_rate"] = round(count.firing_rate, 6)
    figures["seconds"] = round(time.monotonic() - begun, 1)
    print_figures(figures, str(arguments.checkpoint))
    if arguments.gallery is not None:
        print(f"{arguments.gallery}: the queries that are found best and worst")
    if arguments.submission is not None:
        ids = [example.id for example in texts.examples]
        write_atomically(arguments.submission, submission(arguments.task, ids, predicted))
        print(f"{arguments.submission}: answers to {len(ids)} of {counted(len(asked), 'text')}")
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(figures, indent=2) + "\n")
        print(f"{arguments.json}: these figures")
    if model.encoder.spiking is not None and model.encoder.spiking.neuron.spikes and arguments.precision == "float":
        options = ["--checkpoint", arguments.checkpoint, "--task", arguments.task, "--split", arguments.split]
        precision = [] if backend is None else ["--precision", "fixed"]
        print_next(["gshn.evaluate", *options, "--encoder", "lava", *precision, *arguments.overrides])


def gallery(corpus: PairCorpus, images: ImageCollection, path: Path, title: str) -> Look:
    """What draws a gallery of a corpus into a file, see :mod:`gshn.evaluation.gallery`."""
    from gshn.evaluation.gallery import QUERIES, draw

    def look(scores: Tensor, owner: Tensor, texts: Sequence[str]) -> None:
        samples = (images[index] for index in range(len(images)))
        pixels = {sample.name: sample.image for sample in samples}
        write_atomically(path, draw(scores, owner, texts, [pixels[name] for name in corpus.names], QUERIES, title))

    return look


def check_against_training(checkpoint: Path, corpora: Corpora, task: str, split: str) -> None:
    """Refuse pictures that the checkpoint was trained on, where its training data are at hand.

    Whoever asks for the split ``train`` of the very source that it was trained on gets it.

    Raises:
        DataError: there are some, and ``data.allow_overlap`` is not set.
    """
    from gshn.data.overlap import check_overlap
    from gshn.training.corpora import Corpora

    own = load_config(checkpoint / "config.yaml")
    texts = "pairs" if task == "retrieval" else TASKS[task].texts
    if split == "train" and getattr(own.data, texts).source == getattr(corpora.config.data, texts).source:
        return
    test = corpora.test_pictures([task], split)
    try:
        trained = Corpora(own, corpora.vocabulary).training_pictures()
    except UserError as error:
        tell(f"whether {checkpoint} was trained on these pictures cannot be said: {error}")
        return
    check_overlap(trained, test, corpora.config.data.allow_overlap)


if __name__ == "__main__":
    run_command(main)
