"""How much of its time the training loop waits for batches: cached graphs, collation and tokenisation.

    python -m benchmarks.inputs --rounds 60 --json inputs.json

Training of the default model on 2,000 cached ShapeScenes, ``--rounds`` pretraining steps after ten that do not count.
``ours`` is a step, ``waiting`` the part of it until its batch is there: its ratio is the idle share.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from benchmarks.timing import OURS, Row, rows, run

WARM = 10


def measure(rounds: int) -> list[Row]:
    """Time the batches and the steps of a real run."""
    os.environ["TQDM_DISABLE"] = "1"
    from gshn.config import load_config
    from gshn.training.loop import Trainer

    steps = rounds + WARM
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        overrides = ["data.pairs.train=2000", "data.pairs.test=64", "finetune.tasks=[]", f"pretrain.steps={steps}"]
        trainer = Trainer(load_config("default", [*overrides, f"data.cache={cache}"]), Path(folder) / "run", False)
        waited: list[float] = []
        begun: list[float] = []
        batches = trainer.batches

        def timed(stage: str, first: int):  # type: ignore[no-untyped-def]
            source = iter(batches(stage, first))
            while True:
                start = time.perf_counter()
                try:
                    batch = next(source)
                except StopIteration:
                    begun.append(start)
                    return
                begun.append(start)
                waited.append(time.perf_counter() - start)
                yield batch

        trainer.batches = timed  # type: ignore[method-assign]
        trainer.run_stage("pretrain")
    waiting = sum(waited[WARM:]) / rounds
    step = (begun[-1] - begun[WARM]) / rounds
    return rows("training step, default config", {OURS: step, "waiting for the batch": waiting})


if __name__ == "__main__":
    run(__doc__, measure)
