"""NeuroBench's metrics of linear layers, given what they and the neurons behind them took and gave.

``in_neurobench.py IN.npz OUT.json``: IN holds ``weight_k``, ``bias_k``, ``input_k`` (calls, rows, channels) and
``output_k`` of every layer, and ``samples``.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from torch import nn


def main() -> None:
    with np.load(sys.argv[1]) as file:
        arrays = {name: torch.from_numpy(x) for name, x in file.items()}
    layers, samples = [], int(arrays["samples"])
    while f"weight_{len(layers)}" in arrays:
        k = len(layers)
        weight = arrays[f"weight_{k}"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": arrays[f"bias_{k}"]})
        layers.append(layer)
    # What its own hooks on the layers and neurons of a running model would have recorded.
    hooks = [
        SimpleNamespace(
            inputs=list(arrays[f"input_{k}"]),
            activation_outputs=list(arrays[f"output_{k}"]),
            layer=layer,
            hook=SimpleNamespace(remove=lambda: None),
            register_hook=lambda: None,
        )
        for k, layer in enumerate(layers)
    ]
    network = nn.Sequential(*layers)
    model = SimpleNamespace(connection_hooks=hooks, activation_hooks=hooks, __net__=lambda: network)
    data = (torch.zeros(samples, 1), None)
    figures = {
        "footprint": Footprint()(model),
        "connection_sparsity": ConnectionSparsity()(model),
        "activation_sparsity": ActivationSparsity()(model, None, data),
        "synaptic_operations": SynapticOperations()(model, None, data),
    }
    Path(sys.argv[2]).write_text(json.dumps(figures, default=float))


if __name__ == "__main__":
    main()
