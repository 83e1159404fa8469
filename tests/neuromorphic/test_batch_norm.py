"""BatchNorm folded into layers: the model computes the same without it."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

import neuromorphic as nm


def trained(norm: nn.Module) -> nn.Module:
    """A BatchNorm whose numbers all do something."""
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.3, 3)
        if norm.affine:
            norm.weight.uniform_(-1.5, 1.5)
            norm.bias.uniform_(-1, 1)
    return norm


class Neurons(nn.Module):
    """A state that tracing must not look into."""

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        return (x if state is None else x + state).clamp(min=0)


class Written(nn.Module):
    """Layers called by hand, one of them without a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 3, 3, bias=False), trained(nn.BatchNorm2d(3))
        self.neurons = Neurons()
        self.rest = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), trained(nn.BatchNorm1d(5)), Neurons())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.neurons(self.bn(self.conv(x))))


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(4, 5), trained(nn.BatchNorm1d(5)), Neurons(), nn.Linear(5, 2)), (3, 4)),
        (nn.Sequential(nn.Linear(4, 5, bias=False), trained(nn.BatchNorm1d(5, affine=False))), (3, 4)),
        (nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), trained(nn.BatchNorm1d(4))), (3, 2, 7)),
        (nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), trained(nn.BatchNorm2d(4)), nn.ReLU()), (3, 2, 5, 5)),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 5), trained(nn.BatchNorm1d(5))), Neurons()), (3, 4)),
        (Written(), (3, 2, 6, 6)),
    ],
)
def test_a_model_without_batch_norm_computes_the_same(model: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = model.double()
    before = deepcopy(model.state_dict())
    folded = nm.fold_batch_norm(model)
    x = torch.randn(shape, dtype=torch.double)
    assert norms(model) and not norms(folded) and model.training and not folded.training
    torch.testing.assert_close(folded(x), deepcopy(model).eval()(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    if type(model) is nn.Sequential:
        assert list(folded._modules) == [str(k) for k in range(len(folded))]


def test_a_sequential_that_notes_its_modules_is_made_anew() -> None:
    class Noting(nn.Sequential):
        def __init__(self, *modules: nn.Module) -> None:
            super().__init__(*modules)
            self.stateful = [isinstance(module, Neurons) for module in modules]

    folded = nm.fold_batch_norm(Noting(nn.Linear(3, 2), trained(nn.BatchNorm1d(2)), Neurons()))
    assert folded.stateful == [False, True] and len(folded) == 2


def test_what_cannot_be_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.bn = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(self.fc(x)) + self.fc(x)

    class Branching(Twice):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(self.fc(x)) if x.sum() > 0 else x

    with pytest.raises(nm.UserError, match="layer 'fc' feeds more than its BatchNorm 'bn'"):
        nm.fold_batch_norm(Twice())
    with pytest.raises(nm.UserError, match="'bn' is in no Sequential behind a layer, and PyTorch cannot trace forward"):
        nm.fold_batch_norm(Branching())
    with pytest.raises(nm.UserError, match="BatchNorm '0' is not behind one Linear, Conv1d or Conv2d"):
        nm.fold_batch_norm(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)))
    with pytest.raises(nm.UserError, match="BatchNorm '1' has no running statistics"):
        nm.fold_batch_norm(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)))
    with pytest.raises(nm.UserError, match="BatchNorm '1' normalises 4 channels, the layer before it gives 3"):
        nm.fold_batch_norm(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(4)))
    with pytest.raises(nm.UserError, match=r"the model is a dict; give a torch.nn.Module"):
        nm.fold_batch_norm({})  # type: ignore[arg-type]
