"""What a back end offers to sessions: a network that stays, with a state that can be read and set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromorphic.errors import ArgumentError

if TYPE_CHECKING:  # The process that runs Lava needs this module, but no nir: every import there delays every run.
    from neuromorphic.execution.record import Record

Arrays = dict[str, NDArray]


class Machine(ABC):
    """A network of B samples that is ready to run, and stands somewhere between two steps.

    A back end that implements this has sessions (:mod:`neuromorphic.session`, which checks what users give; made by
    :func:`neuromorphic.backends.open_machine`). The state is arrays by name: ``step``, the steps done, and what else
    the back end keeps, as ``WHAT/NODE``, with the axis B first. Back ends of the same arithmetic that keep the same
    under the same names can go on where another stood.

    Attributes:
        start: The state before step 0. Arrays in it of :attr:`constants` say what a state belongs to.
        constants: Names of arrays that are the same in every state.
    """

    start: Arrays
    constants: frozenset[str] = frozenset()

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """Do the next T steps; inputs by Input node, shape (B, T, *shape), checked before."""

    @abstractmethod
    def state(self) -> Arrays:
        """Where the network stands: arrays as in :attr:`start`, which nothing changes later."""

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Stand there; the state was checked by :func:`check_state`."""

    def close(self) -> None:  # noqa: B027
        """Free what is held, if anything is; called once or more."""


def check_state(state: Mapping[str, NDArray], machine: Machine) -> Arrays:
    """Check that a state is one of a machine's.

    Returns:
        It, in the types of :attr:`Machine.start`.

    Raises:
        ArgumentError: it is not; the message names the array.
    """
    mend = "give one of a session of this network, with the same back end, precision and batch"
    if missing := machine.start.keys() - state.keys():
        raise ArgumentError(f"the state has no '{min(missing)}'; {mend}")
    if unknown := state.keys() - machine.start.keys():
        raise ArgumentError(f"the state's '{min(map(str, unknown))}' is unknown here; {mend}")
    out: Arrays = {}
    for name, start in machine.start.items():
        values = np.asarray(state[name])
        if values.shape != start.shape or values.dtype.kind not in "fiub":
            raise ArgumentError(f"the state's '{name}' is {values.dtype} of shape {values.shape}, not {start.dtype} of "
                                f"{start.shape}; {mend}")  # fmt: skip
        out[name] = values.astype(start.dtype)
        if not np.array_equal(out[name], values):  # NaN, too, is not equal to itself.
            raise ArgumentError(f"the state's '{name}' holds what no {start.dtype} is; {mend}")
        if name in machine.constants and not np.array_equal(out[name], start):
            raise ArgumentError(f"the state's '{name}' is another network's; {mend}")
    if out["step"] < 0:
        raise ArgumentError(f"the state's 'step' is {out['step']}; {mend}")
    return out


def of_kind(state: Mapping[str, NDArray], kind: str) -> Arrays:
    """The arrays ``KIND/NODE`` of a state, by node."""
    return {name.removeprefix(f"{kind}/"): values for name, values in state.items() if name.startswith(f"{kind}/")}
