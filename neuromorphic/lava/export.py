"""Export a run on Lava to a folder: the graph, its input, the compiled network, and Lava's results."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from neuromorphic.backends import Precision
from neuromorphic.compiler.lower import lower
from neuromorphic.compiler.schedule import schedule
from neuromorphic.execution.calibration import calibrate
from neuromorphic.execution.spikes import save_arrays
from neuromorphic.files import Lock, check_destination, make_folder, write_atomically, writing
from neuromorphic.lava.compat import require_lava
from neuromorphic.lava.folder import save
from neuromorphic.nir_file import write_nir
from neuromorphic.results.run import Run
from neuromorphic.signals import Signals

if TYPE_CHECKING:
    from neuromorphic.spiking_network import SpikingNetwork

FILES = ("model.nir", "input.npz", "spikes.npz", "report.json")


def export(network: SpikingNetwork, out: Path, signals: Signals, precision: Precision) -> Run:
    """Run a network on Lava, and write all files of the run.

    - ``model.nir`` and ``input.npz``;
    - ``program/``: the compiled network. ``program.json`` names populations, projections and their arrays, which are
      ``program.N.npy``, integers in fixed point;
    - ``spikes.npz``: spikes of every spiking node, and the outputs;
    - ``report.json``: counts and times, and the share of spikes that equal those of the float reference.

    Args:
        network: The network.
        out: The folder; these files in it are replaced.
        signals: Its inputs.
        precision: Lava's arithmetic.

    Raises:
        LavaMissingError, LavaRunError: Lava is not installed, or failed.
        UnsupportedGraphError: the graph cannot be run exactly, or quantised.
        UserError: the folder cannot be written to.
    """
    require_lava()
    for name in FILES:
        check_destination(out / name)
    run = network._run(signals, "lava", precision, ())
    steps = run.shape[1]
    run.compare()
    report = json.dumps(run.report(), indent=2, allow_nan=False)
    compiled = lower(network.graph, horizon=steps if precision == "fixed" else None)
    if precision == "fixed":
        compiled = calibrate(compiled, signals.inputs, batched=True).network
    with Lock(make_folder(out) / ".lock", str(out)):
        write_nir(out / "model.nir", network.nir_graph)
        save_arrays(out / "input.npz", run.inputs)
        save_arrays(out / "spikes.npz", {**run.outputs, **run.spikes})
        with writing(out / "program"), tempfile.TemporaryDirectory(dir=out, prefix=".program.") as name:
            made = Path(name) / "program"
            made.mkdir()
            save(made, {"network": compiled, "plan": schedule(compiled)})
            shutil.rmtree(out / "program", ignore_errors=True)
            made.replace(out / "program")
        write_atomically(out / "report.json", report + "\n")
    return run
