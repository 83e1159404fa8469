"""NeuroBench's metrics of layers, given what they and the neurons behind them took and gave.

``in_neurobench.py IN.npz OUT.json``: IN holds ``weight_k``, of a convolution with four axes, ``input_k`` (calls, rows,
channels, ...) and where there are any ``bias_k``, ``padding_k`` and ``output_k`` of every layer, and ``samples``.
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
        sizes = weight.shape[1], weight.shape[0]
        bias = {"bias": arrays[f"bias_{k}"]} if f"bias_{k}" in arrays else {}
        if weight.ndim == 4:
            padding = tuple(arrays[f"padding_{k}"].tolist())
            layer: nn.Module = nn.Conv2d(*sizes, weight.shape[2:], padding=padding, bias=bool(bias))
        else:
            layer = nn.Linear(*sizes, bias=bool(bias))
        layer.load_state_dict({"weight": weight, **bias})
        layers.append(layer)
    # What its own hooks on the layers and neurons of a running model would have recorded.
    hooks = [
        SimpleNamespace(
            inputs=list(arrays[f"input_{k}"]),
            activation_outputs=list(arrays.get(f"output_{k}", ())),
            layer=layer,
            hook=SimpleNamespace(remove=lambda: None),
            register_hook=lambda: None,
        )
        for k, layer in enumerate(layers)
    ]
    network = nn.Sequential(*layers)
    firing = [hook for hook in hooks if hook.activation_outputs]
    model = SimpleNamespace(connection_hooks=hooks, activation_hooks=firing, __net__=lambda: network)
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
