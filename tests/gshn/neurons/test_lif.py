import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gshn.errors import ConfigError
from gshn.neurons.lif import SURROGATES, LIFParameters, LIFState, lif_sequence, lif_step, spike_function

SPIKE = spike_function("atan", 2.0)


def numpy_lif(current: np.ndarray, p: LIFParameters) -> tuple[np.ndarray, np.ndarray]:
    """Oracle: one neuron and step at a time. Returns spikes and the potentials after each step."""
    v = np.zeros(current.shape[1:])
    spikes, potentials = np.zeros(current.shape), np.zeros(current.shape)
    for t in range(len(current)):
        for i in np.ndindex(v.shape):
            w = v[i] + p.dt / p.tau * (p.v_leak - v[i] + p.r * current[t][i])
            spikes[t][i] = float(w > p.v_threshold)
            v[i] = p.v_reset if w > p.v_threshold else w
            potentials[t][i] = v[i]
    return spikes, potentials


@pytest.mark.parametrize(
    "p",
    [
        LIFParameters(),
        LIFParameters(tau=1e-3, r=9.0),
        LIFParameters(v_leak=0.4, v_threshold=0.7),
        LIFParameters(v_reset=-0.5, v_threshold=0.6),
        LIFParameters(tau=1e-4),
    ],
)
def test_equals_the_step_by_step_oracle(p: LIFParameters) -> None:
    current = np.random.default_rng(0).normal(1.0, 1.5, (20, 3, 5))
    spikes, state = lif_sequence(torch.from_numpy(current), p, SPIKE)
    expected, potentials = numpy_lif(current, p)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(spikes.numpy(), expected)
    np.testing.assert_allclose(state.v.numpy(), potentials[-1], rtol=1e-12)


def test_trace_worked_by_hand() -> None:
    # dt/tau = 1/2, current 1.5: w = 0.75, 1.125 (spike, reset at once to 0), 0.75, 1.125 (spike)
    spikes, state = lif_sequence(torch.full((4, 1), 1.5, dtype=torch.float64), LIFParameters(), SPIKE)
    assert spikes[:, 0].tolist() == [0, 1, 0, 1]
    assert state.v.item() == 0.0


def test_threshold_is_strict() -> None:
    # w = 1 exactly: no spike, and the potential stays.
    spikes, state = lif_step(torch.tensor([2.0]), LIFState(torch.zeros(1)), LIFParameters(), SPIKE)
    assert spikes.item() == 0.0
    assert state.v.item() == 1.0


def test_rate_under_constant_current_is_the_closed_form_one() -> None:
    # Continuous time: interval = tau ln(r I / (r I - theta)); two time steps, the finer one nearer.
    tau, current, seconds = 20e-3, 1.7, 2.0
    interval = tau * math.log(current / (current - 1))
    errors = []
    for dt in (1e-3, 1e-4):
        steps = round(seconds / dt)
        drive = torch.full((steps, 1), current, dtype=torch.float64)
        spikes, _ = lif_sequence(drive, LIFParameters(tau=tau, dt=dt), SPIKE)
        errors.append(abs(spikes.sum().item() / seconds * interval - 1))
    assert errors[1] < 0.01
    assert errors[1] < errors[0] < 0.1


def test_state_is_an_argument_and_nothing_else_remembers() -> None:
    current = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) * 3
    whole, _ = lif_sequence(current, LIFParameters(), SPIKE)
    first, state = lif_sequence(current[:3], LIFParameters(), SPIKE)
    second, _ = lif_sequence(current[3:], LIFParameters(), SPIKE, state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(lif_sequence(current, LIFParameters(), SPIKE)[0], whole)


def test_gradient_equals_that_of_the_written_out_recurrence() -> None:
    p = LIFParameters(r=1.3, v_leak=0.1)
    current = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).mul(2).requires_grad_()
    target = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    spikes, _ = lif_sequence(current, p, SPIKE)
    (spikes * target).sum().backward()

    # By hand, backwards in time: dL/dw[t] = g s'(w) + (1 - s[t]) (1 - dt/tau) dL/dw[t+1]; dL/dI[t] = r dt/tau dL/dw[t].
    with torch.no_grad():
        v, potentials, fired = torch.zeros(7, dtype=torch.float64), [], []
        for i in current:
            w = v + p.dt / p.tau * (p.v_leak - v + p.r * i)
            potentials.append(w)
            fired.append(w > p.v_threshold)
            v = torch.where(fired[-1], p.v_reset, w)
        after = torch.zeros(7, dtype=torch.float64)
        for t in reversed(range(5)):
            x = potentials[t] - p.v_threshold
            surrogate = 1 / (
                1 + (math.pi / 2 * 2.0 * x) ** 2
            )  # snnTorch's atan, alpha = 2: alpha/2 / (1 + (pi/2 alpha x)^2)
            dw = target[t] * surrogate + torch.where(fired[t], 0.0, 1 - p.dt / p.tau) * after
            torch.testing.assert_close(current.grad[t], p.r * p.dt / p.tau * dw, rtol=1e-5, atol=1e-7)
            after = dw


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_are_steps_with_a_gradient(name: str) -> None:
    x = torch.tensor([-0.5, 0.0, 1e-6, 2.0], requires_grad=True)
    s: Tensor = spike_function(name, 5.0)(x)
    s.sum().backward()
    assert s.tolist() == [0, 0, 1, 1]
    assert x.grad is not None
    assert (x.grad > 0).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of atan, fast_sigmoid, sigmoid"):
        spike_function("relu", 1.0)
    with pytest.raises(ConfigError, match="0 < dt <= tau"):
        LIFParameters(dt=3e-4)
    with pytest.raises(ConfigError, match="v_threshold > v_reset"):
        LIFParameters(v_reset=2.0)
