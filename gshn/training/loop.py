"""Pretraining and fine-tuning: the same loop on a CPU, a GPU, or many of them under ``accelerate launch``."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from gshn.config import Config, StageConfig, differences, flat, load_config, to_yaml
from gshn.encoders.quantized import slayer_rounding
from gshn.errors import CheckpointError, ConfigError
from gshn.evaluation.answers import evaluate_task
from gshn.evaluation.retrieval import evaluate_retrieval
from gshn.inference import SpikeCount
from gshn.model import GSHN
from gshn.training.batches import (
    PairBatch,
    PairCollator,
    PairCorpus,
    StepSampler,
    TaskBatch,
    TaskCollator,
    TaskCorpus,
    generator,
    loader,
)
from gshn.training.card import write_card
from gshn.training.checkpoint import FILE, Progress, read_state, restore_model, restore_optimizer, save_state
from gshn.training.corpora import Corpora, build_model
from gshn.training.guard import Guard
from gshn.training.memory import keep_freed_memory
from gshn.training.objective import Objective
from gshn.training.processes import start_processes
from gshn.training.start import read_start
from gshn.training.text_states import text_states
from neuromorphic.errors import UserNotice
from neuromorphic.files import Lock, make_folder, write_atomically, writing

STAGES = ("pretrain", "finetune")


def learning_rate(peak: float, stage: StageConfig, step: int) -> float:
    """Linear warm-up to ``peak``, then cosine decay to 0: the rate of step ``step``, counted from 0."""
    warmup = min(stage.warmup, stage.steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(stage.steps - warmup, 1)))


FUSED = ("cpu", "cuda")
"""Devices where one kernel of PyTorch makes all of AdamW's step: on CPUs in a quarter of the time (docs/speed.md)."""


def make_optimizer(model: GSHN, stage: StageConfig) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and scalars; each group has its peak learning rate as ``peak``."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    tuned = set() if stage.pretrained_lr is None else {id(p) for p in model.pretrained_parameters()}
    groups = []
    for peak, members in (
        (stage.lr, [p for p in parameters if id(p) not in tuned]),
        (stage.pretrained_lr, [p for p in parameters if id(p) in tuned]),
    ):
        if members:
            groups += [
                {"params": [p for p in members if p.dim() >= 2], "weight_decay": stage.weight_decay, "peak": peak},
                {"params": [p for p in members if p.dim() < 2], "weight_decay": 0.0, "peak": peak},
            ]
    # None, not False, elsewhere: with False PyTorch would not choose its next best way, but loop over the parameters.
    fused = True if model.logit_scale.device.type in FUSED else None
    return torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.98), fused=fused)


class MetricsLog:
    """``metrics.jsonl``, with a line for each logged step. A resumed run drops the lines after its first step."""

    def __init__(self, path: Path, resumed: Progress | None):
        self.path = path
        kept = []
        if resumed is not None and path.is_file():
            done = (STAGES.index(resumed.stage), resumed.step)
            for line in path.read_text().splitlines(keepends=True):
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:  # a kill can cut the last line
                    continue
                if (STAGES.index(row["stage"]), row["step"]) <= done:
                    kept.append(line)
        write_atomically(path, "".join(kept))

    def write(self, row: dict[str, float | int | str]) -> None:
        """Append a line.

        Raises:
            UserError: the disk is full.
        """
        with writing(self.path, "make room and go on with --resume"), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Trainer:
    """One run: its folder, model and data."""

    def __init__(self, config: Config, out: Path, resume: bool):
        """Prepare a run.

        Args:
            config: The run's configuration.
            out: The run's folder.
            resume: Whether to continue from the folder's last checkpoint, if there is one.

        Raises:
            UserError: the folder is not writable, contains another run, or is in use by another process; or an input
                cannot be used.
        """
        begun = time.monotonic()
        keep_freed_memory()
        if config.model.spiking.enabled and config.model.spiking.quantize:
            slayer_rounding()  # Now: the first training step comes minutes later.
        self.accelerator = start_processes(os.environ, config.precision, config.log_with, out)
        self.config, self.out = config, make_folder(out)
        self.lock: Lock | None = None
        if self.accelerator.is_main_process:
            self.lock = Lock(self.out / ".lock", str(self.out), "wait for it to end, or choose another --out")
        state = self._check_folder(resume)
        # Adding up gradients of indexed rows is otherwise left to whichever thread comes first, and a resumed run would
        # not end in the same weights. On a GPU it would cost speed, and cuBLAS needs a setting before it starts.
        torch.use_deterministic_algorithms(self.accelerator.device.type == "cpu")
        # No operator reads what it has not written; filling every new tensor with NaN all the same costs a tenth.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        sizes = {"pretrain.batch_size": config.pretrain.batch_size}
        if config.finetune.tasks:
            finetune = config.finetune
            sizes |= {"finetune.batch_size": finetune.batch_size, "finetune.rehearsal": finetune.rehearsal}
        for key, size in sizes.items():
            if size % self.accelerator.num_processes:
                raise ConfigError(
                    f"config key '{key}' is {size}: "
                    f"must be a multiple of the number of processes ({self.accelerator.num_processes})"
                )
        start = read_start(config, self.out, state is not None)
        self.corpora = Corpora(config)
        self.corpora.check_test()
        if self.accelerator.is_main_process:
            self.corpora.check_overlap()
        torch.manual_seed(config.seed)
        self.model: GSHN = build_model(config, self.corpora, start)
        if self.accelerator.is_main_process:
            write_atomically(self.out / "config.yaml", to_yaml(config))
        if config.log_with:
            self.accelerator.init_trackers("gshn", {key: _scalar(value) for key, value in flat(config).items()})
        self.progress = Progress("pretrain", 0, 0.0)
        self.optimizer_state: dict[str, Tensor] | None = None
        if state is not None:
            self.progress, tensors = state
            restore_model(self.model, tensors, self.out)
            self.optimizer_state = tensors
        self.clock_start = begun - self.progress.seconds
        self.objective = self.accelerator.prepare(Objective(self.model, config.objectives, config.chunk))
        self.states = text_states(self.model, self.corpora.training_texts(), Path(config.data.cache))
        if self.accelerator.is_main_process:
            self.log = MetricsLog(self.out / "metrics.jsonl", self.progress if state else None)

    def _check_folder(self, resume: bool) -> tuple[Progress, dict[str, Tensor]] | None:
        previous = self.out / "config.yaml"
        if not (self.out / FILE).is_file() and not (self.out / "model.safetensors").is_file():
            return None
        if not resume:
            raise ConfigError(f"{self.out} holds a run already; add --resume to go on with it, or choose another --out")
        if previous.is_file() and (changed := differences(load_config(previous), self.config)):
            raise CheckpointError(
                f"{self.out} was begun with another configuration: {', '.join(changed)}; "
                "resume with the same one, or choose another --out"
            )
        return read_state(self.out)

    def batches(self, stage: str, first: int) -> Iterator[tuple[PairBatch | None, TaskBatch | None]]:
        """Batches of a stage from step ``first`` on, on this process's device. Tasks take turns step by step."""
        c = self.config
        settings: StageConfig = getattr(c, stage)
        steps, seed = range(first, settings.steps), (c.seed, STAGES.index(stage))
        pairs = PairCollator(
            self.corpora.pairs,
            self.model.tokenizer,
            self.model.vocabulary.words if c.objectives.reads("words") else [],
            self.corpora.caption_weights,
            (*seed, 0),
            c.pretrain.captions,
            self.states,
            c.objectives.reads("masked"),
        )
        if stage == "pretrain":
            sampler = self._sampler("pretrain.batch_size", self.corpora.pairs, steps, (*seed, 1))
            yield from zip(self.accelerator.prepare(loader(self.corpora.pairs, sampler, pairs)), repeat(None))
            return
        tasks, every = c.finetune.tasks, c.finetune.rehearsal_every
        rounds = []
        for place, task in enumerate(tasks):
            corpus = self.corpora.texts(task)
            collate = TaskCollator(corpus, self.model.tokenizer, self.model.vocabulary.answers[task], self.states)
            # The task's own steps, counted from 0: those of the stage that are ``place`` modulo the number of tasks.
            own = range(*(-(-(step - place) // len(tasks)) for step in (first, settings.steps)))
            sampler = self._sampler("finetune.batch_size", corpus, own, (*seed, 2 + place))
            rounds.append(iter(self.accelerator.prepare(loader(corpus, sampler, collate))))
        task_batches = (next(rounds[step % len(tasks)]) for step in steps)
        if not c.finetune.rehearsal:
            yield from zip(repeat(None), task_batches)
            return
        rehearsed = range(-(-first // every) * every, settings.steps, every)
        sampler = self._sampler("finetune.rehearsal", self.corpora.pairs, rehearsed, (*seed, 1))
        pair_batches = iter(self.accelerator.prepare(loader(self.corpora.pairs, sampler, pairs)))
        for step, batch in zip(steps, task_batches, strict=True):
            yield next(pair_batches) if step % every == 0 else None, batch

    def _sampler(self, key: str, corpus: PairCorpus | TaskCorpus, steps: range, seed: tuple[int, ...]) -> StepSampler:
        stage, _, name = key.partition(".")
        size: int = getattr(getattr(self.config, stage), name)
        if size > len(corpus) and self.accelerator.is_main_process:
            items = "images" if isinstance(corpus, PairCorpus) else f"texts of {corpus.task.name}"
            warnings.warn(
                f"config key '{key}' is {size}, but there are only {len(corpus)} {items} to train on: some stand "
                "several times in a batch, which teaches nothing more; lower it",
                UserNotice,
                stacklevel=1,
            )
        return StepSampler(corpus, size, steps, seed)

    def run_stage(self, stage: str) -> None:
        """Train the rest of a stage."""
        settings: StageConfig = getattr(self.config, stage)
        first, tasks = self.progress.step, self.config.finetune.tasks
        optimizer = make_optimizer(self.model, settings)
        if self.optimizer_state is not None:
            restore_optimizer(optimizer, self.optimizer_state)
            self.optimizer_state = None
        optimizer = self.accelerator.prepare(optimizer)
        self.objective.train()
        recent: dict[str, list[Tensor]] = {}
        guard = Guard(stage)
        logged = time.monotonic()
        # Said only where it is so: the environment's TQDM_DISABLE counts otherwise.
        hidden: dict[str, Any] = {} if self.accelerator.is_main_process else {"disable": True}
        with tqdm(
            total=settings.steps * settings.batch_size,
            initial=first * settings.batch_size,
            desc=stage,
            unit=" images" if stage == "pretrain" else " texts",
            dynamic_ncols=True,
            **hidden,
        ) as bar:
            batches = self.batches(stage, first)
            following = next(batches, None)
            for step in range(first, settings.steps):
                assert following is not None
                pairs, texts = following
                key = generator(self.config.seed, STAGES.index(stage), step)
                torch.manual_seed(int(key.integers(2**62)) + self.accelerator.process_index)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(group["peak"], settings, step)
                with self.accelerator.autocast():
                    losses = self.objective(pairs, texts, tasks[step % len(tasks)] if texts is not None else None)
                self.accelerator.backward(losses["loss"])
                norm = self.accelerator.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
                following = next(batches, None)  # before a GPU is waited for, which has to say whether all is finite
                done = step + 1
                if guard.allows(norm, losses, done):
                    optimizer.step()
                    for name, loss in losses.items():
                        recent.setdefault(name, []).append(loss.detach())
                optimizer.zero_grad()
                bar.update(settings.batch_size)
                last = done == settings.steps
                if done % self.config.log_every == 0 or last:
                    since = done - max((done - 1) // self.config.log_every * self.config.log_every, first)
                    means = {name: float(torch.stack(values).mean()) for name, values in recent.items()}
                    now = time.monotonic()
                    speed = since * settings.batch_size / (now - logged)
                    recent, logged = {}, now
                    if means:
                        bar.set_postfix(loss=f"{means['loss']:.3f}", refresh=False)
                    if self.accelerator.is_main_process:
                        row = {name: round(mean, 6) for name, mean in means.items()}
                        if guard.skipped:
                            row["skipped_steps"] = guard.skipped
                        lr = learning_rate(settings.lr, settings, step)
                        told = {"lr": lr, "images_per_second": round(speed, 1), **row}
                        self.log.write({"stage": stage, "step": done, **told})
                        if self.config.log_with:
                            before = self.config.pretrain.steps if stage == "finetune" else 0
                            self.accelerator.log(
                                {f"{stage}/{key}": value for key, value in told.items()}, before + done
                            )
                # While steps are skipped the weights may be to blame: the checkpoint before stays.
                if last or (done % self.config.checkpoint_every == 0 and not guard.streak):
                    self.progress = Progress(stage, done, self.seconds())
                    if self.accelerator.is_main_process:
                        save_state(self.out, self.model, optimizer, self.progress)
        if self.accelerator.is_main_process and (report := guard.report()):
            warnings.warn(report, UserNotice, stacklevel=1)

    def seconds(self) -> float:
        """Wall time of the run so far, seconds, with set-up and with the time before a resumption."""
        return time.monotonic() - self.clock_start

    def train(self) -> None:
        """Train the rest of all stages, and write the model.

        Raises:
            UserError: gradients are repeatedly not finite, or the disk is full.
        """
        for stage in STAGES:
            if STAGES.index(stage) < STAGES.index(self.progress.stage):
                continue
            if stage != self.progress.stage:
                self.progress = Progress(stage, 0, self.progress.seconds)
                self.optimizer_state = None
            if stage == "finetune" and not self.config.finetune.tasks:
                continue
            self.run_stage(stage)
        if self.accelerator.is_main_process:
            self.model.save_pretrained(self.out)

    def run(self) -> dict[str, float | str]:
        """Train all stages, evaluate, and write model and figures; returns the figures.

        Raises:
            UserError: as in :meth:`train`, or test data cannot be used.
        """
        figures: dict[str, float | str] = {}
        try:
            self.train()
            if self.accelerator.is_main_process:
                figures |= evaluate(self.model, self.corpora)
                figures["seconds"] = round(self.seconds(), 1)
                figures["device"] = describe(self.accelerator.device, self.accelerator.num_processes)
                write_atomically(self.out / "metrics.json", json.dumps(figures, indent=2) + "\n")
                write_card(self.out, self.model, figures)
                if self.config.log_with:
                    self.accelerator.log({f"test/{key}": value for key, value in figures.items() if is_number(value)})
            self.accelerator.wait_for_everyone()
            self.accelerator.end_training()
        finally:
            self.close()
        return figures

    def close(self) -> None:
        """Release the folder for other processes."""
        if self.lock is not None:
            self.lock.release()


def is_number(value: object) -> bool:
    """Whether a value is a number that trackers can plot."""
    return isinstance(value, int | float)


def _scalar(value: object) -> str | float:
    """A value of the configuration in a form that all trackers accept."""
    return value if isinstance(value, str | int | float) else str(value)


def evaluate(model: GSHN, corpora: Corpora) -> dict[str, float | str]:
    """Figures of retrieval and of all tasks of the configuration."""
    model.eval()
    count = SpikeCount()
    figures: dict[str, float | str] = {}
    for task in corpora.config.finetune.tasks:
        figures |= evaluate_task(model, corpora.test_texts(task), count)
    figures |= evaluate_retrieval(model, corpora.test_pairs, count)
    figures["firing_rate"] = round(count.firing_rate, 6)
    return figures


def describe(device: torch.device, processes: int) -> str:
    """What a run was trained on, for reports: name of the device, number of processes, threads of each."""
    each = "" if processes == 1 else f"{processes} processes, each "
    if device.type == "cuda":
        return f"{each}{torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device.type}, {each}{threads} thread{'s' * (threads != 1)}"
