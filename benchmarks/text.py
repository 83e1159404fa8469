"""Images that a second of a CPU trains on in the config ``photographs``, by what is tuned of the text encoder.

    OMP_NUM_THREADS=1 python -m benchmarks.text data.pairs.source=flickr8k:DIR data.pairs.train=128 data.pairs.test=8

A step is making its batch, losses, gradients and the optimizer's step; its time is the process's on the CPU, so that
others on the machine matter little. Graphs, and a frozen encoder's states, are computed before.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from gshn.config import load_config
from gshn.training.loop import Trainer, make_optimizer

STEPS = 5
VARIANTS = [(tune, captions) for captions in (1, 5) for tune in ("all", "last:2", "none")]


def seconds(overrides: list[str]) -> tuple[float, int]:
    """Median CPU time of a step after the first, and its images."""
    with tempfile.TemporaryDirectory() as out:
        trainer = Trainer(load_config("photographs", overrides), Path(out), resume=False)
        settings = trainer.config.pretrain
        optimizer = make_optimizer(trainer.model, settings)
        trainer.objective.train()
        batches, times = trainer.batches("pretrain", 0), []
        for _ in range(STEPS + 1):
            begun = time.process_time()
            pairs, _ = next(batches)
            trainer.objective(pairs)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(time.process_time() - begun)
        trainer.close()
    return statistics.median(times[1:]), settings.batch_size


def main() -> None:
    """Print a line for each variant."""
    for tune, captions in VARIANTS:
        own = [f"model.text.tune={tune}", f"pretrain.captions={captions}"]
        time_, images = seconds([*sys.argv[1:], *own])
        rates = f"{images / time_:.1f} images/s, {images * captions / time_:.1f} captions/s"
        print(f"{' '.join(own)}: {rates}, {time_:.2f} s a step of {images} images", flush=True)


if __name__ == "__main__":
    main()
