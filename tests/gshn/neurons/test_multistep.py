"""The multi-step kernels against the step loop: spikes to the last bit, gradients to 1e-6."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from snntorch import surrogate
from torch import Tensor

from gshn.neurons.lif import SURROGATES, LIFParameters, Spike, lif_sequence, spike_function
from gshn.neurons.multistep import lif
from neuromorphic.execution import c_compiler, native

P = LIFParameters(r=1.3, v_leak=0.1, v_reset=-0.2, v_threshold=0.9)
ATAN = spike_function("atan", 2.0)


def both(current: Tensor, p: LIFParameters, spike: Spike) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes and the current's gradient, by the kernels and by the step loop."""
    target = torch.randn(current.shape, generator=torch.Generator().manual_seed(9), dtype=current.dtype)
    out = []
    for run in (lif, lambda x, p, spike: lif_sequence(x, p, spike)[0]):
        x = current.detach().clone().requires_grad_()
        spikes = run(x, p, spike)
        (spikes * target).sum().backward()
        assert x.grad is not None
        out += [spikes.detach(), x.grad]
    return out[0], out[2], out[1], out[3]


def currents(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.7


def check(current: Tensor, p: LIFParameters = P, spike: Spike = ATAN) -> None:
    ours, theirs, gradient, expected = both(current, p, spike)
    assert 0.02 < theirs.float().mean() < 0.98
    assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(params=["C", "PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without a C compiler."""
    if request.param == "C":
        if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
            pytest.skip("no C compiler here: these kernels are not tested")
        assert native.library() is not None
    else:
        monkeypatch.setattr(native, "library", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SURROGATES)
def test_spikes_and_gradients_equal_the_step_loop(way: str, name: str, dtype: torch.dtype) -> None:
    check(currents(9, 7, 5, dtype=dtype), spike=spike_function(name, 3.0))


@pytest.mark.parametrize("p", [LIFParameters(), LIFParameters(tau=1e-4), LIFParameters(tau=1e-3, r=9.0)])
def test_any_parameters(way: str, p: LIFParameters) -> None:
    check(currents(16, 50), p)


@pytest.mark.parametrize("neurons", [1, 4095, 4096, 4097, 40_001])  # about a block, and more than threads share
@pytest.mark.parametrize("steps", [1, 2, 32, 33])  # 33: left to PyTorch
def test_any_size(neurons: int, steps: int) -> None:
    ours, theirs, gradient, expected = both(currents(steps, neurons), P, ATAN)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


def test_any_strides(way: str) -> None:
    check(currents(6, 3).expand(8, 6, 3))  # the same at every step
    check(currents(5, 6, 8).transpose(0, 2))
    check(currents(12, 6, 4)[::2, :, 1:3])


def test_threads_change_nothing() -> None:
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(both(currents(8, 12_345), P, ATAN)[::2])
    finally:
        torch.set_num_threads(before)
    for spikes, gradient in results[1:]:
        assert torch.equal(spikes, results[0][0]) and torch.equal(gradient, results[0][1])


def test_a_gradient_of_any_strides() -> None:
    x = currents(4, 6).requires_grad_()
    lif(x, P, ATAN).sum().backward()  # an expanded gradient
    assert x.grad is not None
    expected = currents(4, 6).requires_grad_()
    lif_sequence(expected, P, ATAN)[0].sum().backward()
    torch.testing.assert_close(x.grad, expected.grad, rtol=1e-6, atol=1e-6)


def test_only_the_input_is_kept(way: str) -> None:
    x = currents(8, 100).requires_grad_()
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        lif(x, P, ATAN)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


@pytest.mark.parametrize("name", SURROGATES)
def test_derivatives_are_snntorchs(name: str) -> None:
    spike, u = spike_function(name, 4.0), torch.linspace(-3, 3, 101, dtype=torch.float64).requires_grad_()
    theirs = getattr(surrogate, name)(4.0)
    for step in (spike, theirs):
        spikes = step(u)
        assert torch.equal(spikes, (u > 0).float())
        (gradient,) = torch.autograd.grad(spikes.sum(), u)
        torch.testing.assert_close(spike.derivative(u.detach()), gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SURROGATES)
def test_gradients_are_finite_however_far_from_the_threshold(way: str, name: str, dtype: torch.dtype) -> None:
    """Of snnTorch's sigmoid the derivative is inf / inf at slope 25 from 3.5 below the threshold on, in float32."""
    far = [1e-3, 3.5, 40.0, 1e4, 1e10]
    current = torch.tensor([-x for x in reversed(far)] + far, dtype=dtype).repeat(3, 1)
    for slope in (25.0, 1e4):
        _, _, gradient, expected = both(current, LIFParameters(), spike_function(name, slope))
        assert gradient.isfinite().all() and expected.isfinite().all()
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


def test_kernels_are_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if native.library() is None:
        pytest.skip("no C compiler here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native.library.__wrapped__() is not None
    (made,) = (tmp_path / "neuromorphic").iterdir()
    before = made.stat().st_mtime_ns
    assert native.library.__wrapped__() is not None and made.stat().st_mtime_ns == before
    broken = tmp_path / "other" / "neuromorphic" / made.name
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert native.library.__wrapped__() is not None and broken.stat().st_size > 1000  # made anew
    monkeypatch.setattr(c_compiler, "FLAGS", ("-no-such-flag",))
    assert native.library.__wrapped__() is None  # PyTorch takes over
    monkeypatch.setattr(c_compiler.shutil, "which", lambda name: None)
    assert native.library.__wrapped__() is None
