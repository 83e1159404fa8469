"""The interface of a back end for sessions: a network whose state is kept, read and set."""

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
    """A network with B samples and a current state, between two steps.

    A back end that implements this class has sessions. :func:`neuromorphic.backends.open_machine` makes the machine;
    :mod:`neuromorphic.session` checks the user's arguments. The state is a dictionary of arrays: ``step``, the number
    of steps done, and the back end's own arrays ``WHAT/NODE``, whose first axis is B. Back ends that keep the same
    arrays under the same names, in the same arithmetic, can continue each other's runs.

    Attributes:
        start: The state before step 0.
        constants: Names of the arrays that are the same in every state. They tell whether a state fits the network.
    """

    start: Arrays
    constants: frozenset[str] = frozenset()

    @abstractmethod
    def run(self, inputs: Mapping[str, NDArray]) -> Record:
        """Do the next T steps.

        Args:
            inputs: By Input node, shape (B, T, *shape). The session has checked them.
        """

    @abstractmethod
    def state(self) -> Arrays:
        """The current state: arrays as in :attr:`start`. Later steps do not change them."""

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Set the state, which :func:`check_state` has checked."""

    def close(self) -> None:  # noqa: B027
        """Free memory and processes, if there are any. May be called more than once."""


def check_state(state: Mapping[str, NDArray], machine: Machine) -> Arrays:
    """Check that a state fits a machine.

    Returns:
        The state, in the types of :attr:`Machine.start`.

    Raises:
        ArgumentError: an array is missing, unknown, of another shape or type, or of another network; the message names
            it.
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
