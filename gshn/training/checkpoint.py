"""Training state on disk: one safetensors file, renamed into place, from which a killed run goes on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from gshn.errors import CheckpointError, TrainingError
from gshn.model import load_tensors, not_finite, storable
from neuromorphic.files import write_atomically

FILE = "training_state.safetensors"


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        stage: ``pretrain``, ``finetune`` or ``segmenter``.
        step: Number of steps of this stage that are done.
        seconds: Training time so far, seconds.
    """

    stage: str
    step: int
    seconds: float


def save_state(folder: Path, model: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Write model, optimizer state and progress to ``folder``.

    Randomness has no state to save: it is a function of the step (see :mod:`gshn.training.batches`).

    Raises:
        TrainingError: a tensor is not finite. The folder is not changed.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    metadata = {"stage": progress.stage, "step": str(progress.step), "seconds": str(progress.seconds)}
    tensors = storable(tensors)
    if wrong := not_finite(tensors):
        raise TrainingError(
            f"{wrong} after {progress.stage} step {progress.step}: nothing is written; lower {progress.stage}.lr, and "
            "go on from the last checkpoint with --resume or start again with another --out"
        )
    write_atomically(folder / FILE, save(tensors, metadata))


def read_state(folder: Path) -> tuple[Progress, dict[str, Tensor]] | None:
    """Read the state that :func:`save_state` wrote, tensors by name; None if there is none.

    Raises:
        CheckpointError: the file is broken, or a tensor in it is not finite.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            m = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if wrong := not_finite(tensors):
            raise ValueError(wrong)
        return Progress(m["stage"], int(m["step"]), float(m["seconds"])), tensors
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is broken ({error}); delete it to train from the start") from None


def restore_model(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load the model's part of a training state."""
    own = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    load_tensors(model, own, folder / FILE)


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the optimizer's part of a training state of the same stage."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
