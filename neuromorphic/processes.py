"""Child processes that end when their parent does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl that sets the signal a process gets when its parent ends."""


def end_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, if it can (Linux).

    Args:
        parent: Process id of the parent. If it has ended already, this process ends now.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
