"""The GPU's kernels against the CPU's: spikes to the last bit, gradients to 1e-6.

Without a GPU Triton's interpreter computes them with NumPy, one operation at a time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import gshn.neurons
from gshn.neurons import multistep
from gshn.neurons.lif import SURROGATES, LIFParameters, Spike, lif_sequence, spike_function
from gshn.neurons.multistep import lif
from neuromorphic.execution import native

P = LIFParameters(r=1.3, v_leak=0.1, v_reset=-0.2, v_threshold=0.9)
ATAN = spike_function("atan", 2.0)
SOURCE = Path(native.__file__).with_name("triton_kernels.py")


@pytest.fixture(params=["interpreter", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where ``lif`` runs by the GPU's kernels."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: the GPU's kernels are not tested")
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no GPU here: its kernels are tested by Triton's interpreter alone")
        return "cuda"
    # Whether kernels are interpreted is settled when they are defined, so a copy of the module is.
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    spec = spec_from_file_location("interpreted_kernels", SOURCE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(multistep, "_on_gpu", lambda x: _taken(module, x))
    return "cpu"


def _taken(module: ModuleType, x: Tensor) -> ModuleType | None:
    return module if x.dtype in module.NUMBERS else None


def both(
    base: Tensor, device: str, p: LIFParameters, spike: Spike, view: Callable[[Tensor], Tensor] = lambda x: x
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes and the input's gradient, by the GPU's kernels and by the step loop on the CPU, of a view of numbers."""
    x, own = base.detach().to(device).requires_grad_(), base.clone().requires_grad_()
    spikes, expected = lif(view(x), p, spike), lif_sequence(view(own), p, spike)[0]
    target = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9), dtype=base.dtype)
    (spikes * target.to(device)).sum().backward()
    (expected * target).sum().backward()
    assert x.grad is not None and own.grad is not None
    return spikes.detach().cpu(), expected.detach(), x.grad.cpu(), own.grad


def currents(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.7


def check(
    base: Tensor,
    device: str,
    p: LIFParameters = P,
    spike: Spike = ATAN,
    view: Callable[[Tensor], Tensor] = lambda x: x,
) -> None:
    ours, theirs, gradient, expected = both(base, device, p, spike, view)
    assert 0.02 < theirs.float().mean() < 0.98
    assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_spikes_and_gradients_equal_the_cpus(device: str, name: str, dtype: torch.dtype) -> None:
    check(currents(9, 7, 5, dtype=dtype), device, spike=spike_function(name, 3.0))


@pytest.mark.parametrize("p", [LIFParameters(), LIFParameters(tau=1e-4), LIFParameters(tau=1e-3, r=9.0)])
def test_any_parameters(device: str, p: LIFParameters) -> None:
    check(currents(16, 50), device, p)


@pytest.mark.parametrize("neurons", [1, 255, 256, 257, 1000])  # about a program's share
@pytest.mark.parametrize("steps", [1, 2, 15, 16, 17, 32, 50])  # about a segment, and several
def test_any_size(device: str, neurons: int, steps: int) -> None:
    ours, theirs, gradient, expected = both(currents(steps, neurons), device, P, ATAN)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


def test_any_strides(device: str) -> None:
    check(currents(6, 3), device, view=lambda x: x.expand(8, 6, 3))  # the same at every step
    check(currents(5, 6, 8), device, view=lambda x: x.transpose(0, 2))
    check(currents(12, 6, 4), device, view=lambda x: x[::2, :, 1:3])
    check(currents(20, 40), device, view=lambda x: x[:, ::2])


def test_threshold_is_strict(device: str) -> None:
    at, above = torch.full((1, 3), 2.0, device=device), torch.full((1, 3), 2.0000005, device=device)
    assert not lif(at, LIFParameters(), ATAN).any()  # w = 1 exactly
    assert lif(above, LIFParameters(), ATAN).all()


def test_a_gradient_of_any_strides(device: str) -> None:
    x = currents(4, 6).to(device).requires_grad_()
    lif(x, P, ATAN).sum().backward()  # an expanded gradient
    own = currents(4, 6).requires_grad_()
    lif_sequence(own, P, ATAN)[0].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.cpu(), own.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("steps", "potentials"), [(16, 0), (17, 2), (40, 3)])
def test_what_is_kept(device: str, steps: int, potentials: int) -> None:
    """The input; of more than a segment, the potentials before each of them; nothing where nothing learns."""
    x = currents(steps, 100).to(device).requires_grad_()
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        lif(x, P, ATAN)
    assert [len(tensor) for tensor in kept] == [steps, *[potentials] * bool(potentials)]


def test_a_sharp_surrogate_gives_no_nan(device: str) -> None:
    x = torch.full((3, 4), -50.0, device=device, requires_grad=True)  # e^(k u) would be infinite
    lif(x, LIFParameters(), spike_function("sigmoid", 25.0)).sum().backward()
    assert x.grad is not None and torch.equal(x.grad.cpu(), torch.zeros(3, 4))


def test_other_numbers_are_left_to_operators(device: str) -> None:
    x = currents(4, 6).to(torch.bfloat16)
    assert torch.equal(lif(x.to(device), P, ATAN).cpu(), lif_sequence(x, P, ATAN)[0])


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_they_compile_for_a_gpu_without_contraction(dtype: str) -> None:
    """The interpreter takes more of Python than the compiler does, and never contracts."""
    triton = pytest.importorskip("triton", reason="triton is not installed: the GPU's kernels are not compiled")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gshn.neurons import triton_kernels

    number = triton.language.float32 if dtype == "fp32" else triton.language.float64
    shared = {"A": 0.3, "R": 1.7, "LEAK": 0.1, "THRESHOLD": 0.9, "RESET": -0.2, "SEGMENT": 16, "EVEN": False}
    shared |= {"BLOCK": 128, "NUMBER": number}
    for kernel, own in (
        (triton_kernels._forward, {"KEEP": True}),
        (triton_kernels._backward, {"KEPT": True, "SURROGATE": 0, "K": 3.0}),
    ):
        given = shared | own
        arguments = {name: f"*{dtype}" if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
        signature = arguments | dict.fromkeys(given, "constexpr")
        places = {(kernel.arg_names.index(name),): value for name, value in given.items()}
        source = ASTSource(fn=kernel, signature=signature, constexprs=places)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
        assert "st.global" in made.asm["ptx"] and not re.search(r"\b(fma|mad)\.\w*\.?f(32|64)", made.asm["ptx"])


def test_a_gpu_without_triton_is_left_to_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gshn.neurons, "triton_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "gshn.neurons.triton_kernels", None)
    assert multistep.gpu_kernels.__wrapped__() is None
    x = currents(4, 6).requires_grad_()
    with native.by_operators():
        spikes = lif(x, P, ATAN)
    assert torch.equal(spikes, lif_sequence(x, P, ATAN)[0])
