"""Running a ``.net`` file on the Lava simulator by lava-dl's own netx, in a child process with a deadline."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from neuromorphic.compiler.quantize import Ints
from neuromorphic.execution.spikes import Spikes
from neuromorphic.files import writing
from neuromorphic.lava.compat import import_netx, require_lava_dl
from neuromorphic.lava.netx_file import NetxNetwork, netx_file
from neuromorphic.lava.run import MEND, run_child

RUN_FILE, NET_FILE, SPIKES_FILE = "netx.json", "encoder.net", "output.spikes.npy"
"""Files in the folder of the child process."""


def run_netx(network: NetxNetwork, messages: Ints, deadline: float = 600.0) -> tuple[Spikes, dict[str, float]]:
    """Load a network's file with netx, and run it bit-accurately (``fixed_pt``).

    Args:
        network: The content of the file.
        messages: The input, shape (T, n).
        deadline: Seconds after which the run is stopped.

    Returns:
        Spikes of the last layer, shape (T, M), and the seconds of each phase.

    Raises:
        LavaMissingError: Lava or lava-dl is not installed.
        LavaRunError: the run failed or did not end in time; nothing of it is left behind.
    """
    require_lava_dl()
    lag = len(network.layers)
    with tempfile.TemporaryDirectory(prefix="neuromorphic-netx-") as name:
        folder = Path(name)
        with writing(folder, MEND):
            (folder / NET_FILE).write_bytes(netx_file(network))
            np.save(folder / "messages.npy", np.pad(messages, ((0, lag), (0, 0))).T)
            np.save(folder / SPIKES_FILE, np.zeros((len(messages), len(network.layers[-1].vth)), bool))
            run = {"steps": len(messages) + lag, "delay": lag, "loading": network.loading()}
            (folder / RUN_FILE).write_text(json.dumps(run))
        run_child(folder, deadline, len(messages) + lag)
        return np.load(folder / SPIKES_FILE), json.loads((folder / "timings.json").read_text())


def build_netx(folder: Path) -> tuple[Any, Any, int]:
    """In the child: the process of the network in ``folder``, its run configuration, and the steps to run.

    Only the last layer is recorded: a block's neurons cannot be connected to from outside of it.
    """
    hdf5 = import_netx()
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.io.source import RingBuffer

    from neuromorphic.lava.processes.models import FIXED
    from neuromorphic.lava.processes.process import Recorder

    run = json.loads((folder / RUN_FILE).read_text())
    network = hdf5.Network(net_config=str(folder / NET_FILE), **run["loading"])
    source = RingBuffer(data=np.load(folder / "messages.npy"))
    size = network.out.shape[0]
    sink = Recorder(rows=folder / SPIKES_FILE, size=size, lag=run["delay"], name="output")
    source.s_out.connect(network.inp)
    network.out.connect(sink.s_in)
    return network, Loihi2SimCfg(select_tag=FIXED), run["steps"]
