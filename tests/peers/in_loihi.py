"""Two other emulators of Loihi's arithmetic: brian2-loihi and nengo-loihi's. Nothing of ours runs here.

    python in_loihi.py EMULATOR NETWORKS.json OUT.npz

NETWORKS.json is a list of networks: ``steps``; ``input``, spikes of shape (T, n); ``populations``, each with ``size``,
``du``, ``dv`` and ``threshold`` as the registers have them (du is what 4096 loses, 1 to 4096); ``synapses``, each with
``source`` (-1 is the input), ``target``, ``delay`` beyond the one step of every synapse, ``exponent`` and ``weights``,
shape (target, source). Neurons are reset to 0. OUT.npz has ``spikes_K_P`` and ``v_K_P`` of network K, population P, of
shape (steps, size), v after the reset.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Network = dict[str, Any]
STATE = 2**23 - 1


def brian2(network: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    """brian2-loihi: Loihi's equations in Brian 2."""
    import brian2_loihi as loihi
    from brian2 import prefs

    prefs.codegen.target = "numpy"
    steps = network["steps"]
    x = np.array(network["input"], bool)
    times, indices = np.nonzero(x)
    # Its input arrives in the step in which it is given, all other spikes a step later: here all are to take a step.
    source = loihi.LoihiSpikeGeneratorGroup(x.shape[1], indices, times + 1)
    groups = [
        loihi.LoihiNeuronGroup(
            p["size"], refractory=1, threshold_v_mant=p["threshold"], decay_v=p["dv"], decay_I=p["du"]
        )
        for p in network["populations"]
    ]
    objects: list[Any] = [source, *groups]
    for synapses in network["synapses"]:
        weights = np.array(synapses["weights"])
        made = loihi.LoihiSynapses(
            source if synapses["source"] < 0 else groups[synapses["source"]],
            groups[synapses["target"]],
            delay=synapses["delay"],
            w_exp=synapses["exponent"],
            sign_mode=loihi.synapse_sign_mode.MIXED,
        )
        rows, columns = np.nonzero(weights)
        if len(rows):
            made.connect(i=columns, j=rows)
            made.w = weights[rows, columns]
            objects.append(made)
    spikes = [loihi.LoihiSpikeMonitor(group) for group in groups]
    states = [loihi.LoihiStateMonitor(group, "v") for group in groups]
    loihi.LoihiNetwork(*objects, *spikes, *states).run(steps)
    out = []
    for group, fired, state in zip(groups, spikes, states, strict=True):
        rows = np.zeros((steps, group.N), bool)
        rows[np.round(np.asarray(fired.t)).astype(int), np.asarray(fired.i)] = True
        out.append((rows, np.asarray(state.v).T))
    return out


def nengo(network: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    """nengo-loihi's emulator, given integers instead of what it would make of floats. It has no delays."""
    from nengo_loihi.block import Axon, LoihiBlock, Synapse
    from nengo_loihi.emulator.interface import EmulatorInterface
    from nengo_loihi.inputs import SpikeInput

    x = np.array(network["input"], bool)
    blocks = []
    for p in network["populations"]:
        block = LoihiBlock(p["size"])
        own = block.compartment
        whole = {"decay_u": p["du"] - 1, "decay_v": p["dv"], "vth": p["threshold"] * 64, "bias": 0, "refract_delay": 1}
        for name, value in whole.items():
            setattr(own, name, np.full(p["size"], value, np.int32))
        own.scale_u = own.scale_v = False
        own.vmin, own.vmax = -STATE, STATE
        blocks.append(block)
    source = SpikeInput(x.shape[1])
    for synapses in network["synapses"]:
        assert synapses["delay"] == 0
        weights = np.array(synapses["weights"])
        synapse = Synapse(weights.shape[1])
        synapse.set_weights(weights.T.astype(np.float32))
        # As its discretize_weights does, which takes floats: each weight is shifted by the exponent, then by 6.
        shifted = np.round(weights.T * 2.0 ** synapses["exponent"]).astype(np.int32) << 6
        synapse.weights = [row[None] for row in shifted]
        blocks[synapses["target"]].add_synapse(synapse)
        axon = Axon(weights.shape[1])
        axon.target = synapse
        axon.set_compartment_axon_map(np.arange(weights.shape[1]))
        (source.add_axon if synapses["source"] < 0 else blocks[synapses["source"]].add_axon)(axon)
    for t, row in enumerate(x):
        source.add_spikes(t + 1, np.flatnonzero(row), permanent=True)
    emulator = EmulatorInterface(SimpleNamespace(blocks=blocks, inputs=[source], probes=[], dt=0.001), seed=0)
    slices = [emulator.block_info.slices[block] for block in blocks]
    spikes, v = [], []
    for _ in range(network["steps"]):
        emulator.step()
        spikes.append(emulator.compartment.spiked.copy())
        v.append(emulator.compartment.voltage.copy())
    return [(np.array(spikes)[:, own], np.array(v)[:, own]) for own in slices]


def main() -> None:
    warnings.filterwarnings("ignore")
    run = {"brian2": brian2, "nengo": nengo}[sys.argv[1]]
    arrays = {}
    for k, network in enumerate(json.loads(Path(sys.argv[2]).read_text())):
        for p, (spikes, v) in enumerate(run(network)):
            arrays |= {f"spikes_{k}_{p}": spikes, f"v_{k}_{p}": v}
    np.savez_compressed(sys.argv[3], **arrays)


if __name__ == "__main__":
    main()
