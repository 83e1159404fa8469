"""Leaky integrate-and-fire neurons with the dynamics of NIR and Lava, trained with surrogate gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from snntorch import surrogate
from torch import Tensor

from gshn.errors import ConfigError

SURROGATES = ("atan", "fast_sigmoid", "sigmoid")


@dataclass(frozen=True)
class Spike:
    """Heaviside step function (0 at 0) with the derivative of one of snnTorch's surrogates.

    Attributes:
        name: One of :data:`SURROGATES`.
        slope: Its steepness k.
    """

    name: str
    slope: float

    def __call__(self, u: Tensor) -> Tensor:
        """1 where u > 0, else 0; its gradient is :meth:`derivative`."""
        spikes: Tensor = surrogate.custom_surrogate(lambda u, gradient, _: gradient * self.derivative(u))(u)
        return spikes

    def derivative(self, u: Tensor) -> Tensor:
        """The surrogate derivative, finite for every u.

        atan: k / 2 / (1 + (pi k u / 2)^2);  fast_sigmoid: 1 / (1 + k |u|)^2;
        sigmoid: k e^(-k |u|) / (1 + e^(-k |u|))^2, snnTorch's, which has u for |u|: the same, as it is even, but
        e^(-k u) overflows far below the threshold.
        """
        k = self.slope
        if self.name == "atan":
            return k / 2 / (1 + (math.pi / 2 * k * u) ** 2)
        if self.name == "fast_sigmoid":
            return 1 / (k * u.abs() + 1) ** 2
        e = torch.exp(-k * u.abs())
        return k * e / (e + 1) ** 2


def spike_function(name: str, slope: float) -> Spike:
    """Return snnTorch's surrogate ``name`` with steepness ``slope``.

    Raises:
        ConfigError: the name is unknown; the message lists the valid ones.
    """
    if name not in SURROGATES:
        raise ConfigError(f"surrogate '{name}' is unknown; choose one of {', '.join(SURROGATES)}")
    return Spike(name, slope)


@dataclass(frozen=True)
class LIFParameters:
    """Parameters of a LIF population, named as in ``nir.LIF``.

    Attributes:
        tau: Membrane time constant, seconds, >= dt.
        r: Membrane resistance; the input current is in units of v_threshold / r.
        v_leak: Potential that the membrane decays to.
        v_threshold: Potential above which (strictly) the neuron spikes.
        v_reset: Potential right after a spike.
        dt: Time step, seconds.
    """

    tau: float = 2e-4
    r: float = 1.0
    v_leak: float = 0.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    dt: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.dt <= self.tau:
            raise ConfigError(f"LIF needs 0 < dt <= tau (seconds), got dt={self.dt}, tau={self.tau}")
        if not self.v_threshold > self.v_reset:
            raise ConfigError(f"LIF needs v_threshold > v_reset, got {self.v_threshold} and {self.v_reset}")


class LIFState(NamedTuple):
    """State of a LIF population: ``v``, the membrane potential, in units of v_threshold."""

    v: Tensor


def lif_step(current: Tensor, state: LIFState, p: LIFParameters, spike: Spike) -> tuple[Tensor, LIFState]:
    """Advance LIF neurons by one forward-Euler step, as ``nir.LIF`` and ``lava.proc.lif.LIF`` (du = 1) do.

    w = v + (dt / tau)(v_leak - v + r current);  s = 1 if w > v_threshold else 0;  v' = v_reset if s else w

    Source: Gerstner et al., Neuronal Dynamics (2014), sec. 1.3, without refractory period. Differs from
    ``snntorch.Leaky``, which by default resets one step later (``reset_delay=True``), by subtraction, and takes the
    input without the factor dt / tau: trained weights would not give the same spikes on Lava.

    The gradient passes the threshold through the surrogate of ``spike`` and does not pass the reset.

    Args:
        current: Input of this step, any shape.
        state: Potential before the step, same shape.
        p: Parameters.
        spike: Heaviside function with surrogate derivative, see :func:`spike_function`.

    Returns:
        Spikes in {0, 1}, same shape and dtype as ``current``; state after the step.
    """
    w = state.v + (p.dt / p.tau) * (p.v_leak - state.v + p.r * current)
    s = spike(w - p.v_threshold).to(current.dtype)
    return s, LIFState(torch.where(s.detach() > 0, p.v_reset, w))


def lif_sequence(
    current: Tensor, p: LIFParameters, spike: Spike, state: LIFState | None = None
) -> tuple[Tensor, LIFState]:
    """Run :func:`lif_step` over the leading axis of ``current``, with autograd's own backward pass.

    :func:`gshn.neurons.multistep.lif` gives the same spikes and gradients in less time and memory.

    Args:
        current: Input of every step, shape (T, ...).
        p: Parameters.
        spike: Heaviside function with surrogate derivative.
        state: Potential before the first step, shape (...); zero where not given.

    Returns:
        Spikes, shape (T, ...), and the state after the last step.
    """
    if state is None:
        state = LIFState(torch.zeros_like(current[0]))
    spikes = []
    for step_current in current.unbind(0):
        s, state = lif_step(step_current, state, p, spike)
        spikes.append(s)
    return torch.stack(spikes), state
