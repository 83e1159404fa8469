"""The optimizer in one kernel: the steps of the plain one, and a state that either goes on from."""

from pathlib import Path

import torch
from helpers import tiny_config, tiny_model

from gshn.model import GSHN
from gshn.training.checkpoint import Progress, read_state, restore_model, restore_optimizer, save_state
from gshn.training.loop import FUSED, make_optimizer

STAGE = tiny_config("pretrain.lr=0.01").pretrain


def plain(model: GSHN) -> torch.optim.AdamW:
    """The same optimizer, a parameter after another."""
    groups = [
        {name: group[name] for name in ("params", "weight_decay")}
        for group in make_optimizer(model, STAGE).param_groups
    ]
    return torch.optim.AdamW(groups, lr=STAGE.lr, betas=(0.9, 0.98), foreach=False, fused=False)


def make_steps(model: GSHN, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Steps with gradients that are a function of the step."""
    for step in steps:
        random = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random)
        optimizer.step()


def test_its_steps_are_those_of_the_plain_one() -> None:
    one, other = tiny_model(), tiny_model()
    optimizer = make_optimizer(one, STAGE)
    assert "cpu" in FUSED and all(group["fused"] for group in optimizer.param_groups)
    make_steps(one, optimizer, range(5))
    make_steps(other, plain(other), range(5))
    for name, parameter in one.named_parameters():
        torch.testing.assert_close(parameter, other.get_parameter(name), rtol=1e-5, atol=1e-6, msg=name)


def test_a_restored_one_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, cut = tiny_model(), tiny_model()
    optimizer = make_optimizer(whole, STAGE)
    make_steps(whole, optimizer, range(3))
    save_state(tmp_path, whole, optimizer, Progress("pretrain", 3, 0.0))
    make_steps(whole, optimizer, range(3, 6))
    _, tensors = read_state(tmp_path) or (None, {})
    restore_model(cut, tensors, tmp_path)
    restore_optimizer(again := make_optimizer(cut, STAGE), tensors)
    make_steps(cut, again, range(3, 6))
    assert {float(state["step"]) for state in again.state.values()} == {6.0}
    assert all(torch.equal(parameter, whole.get_parameter(name)) for name, parameter in cut.named_parameters())


def test_it_goes_on_from_a_state_of_the_plain_one(tmp_path: Path) -> None:
    whole, cut = tiny_model(), tiny_model()
    make_steps(whole, optimizer := plain(whole), range(3))
    save_state(tmp_path, whole, optimizer, Progress("pretrain", 3, 0.0))
    make_steps(whole, optimizer, range(3, 6))
    _, tensors = read_state(tmp_path) or (None, {})
    restore_model(cut, tensors, tmp_path)
    restore_optimizer(again := make_optimizer(cut, STAGE), tensors)
    make_steps(cut, again, range(3, 6))
    for name, parameter in cut.named_parameters():
        torch.testing.assert_close(parameter, whole.get_parameter(name), rtol=1e-5, atol=1e-6, msg=name)
