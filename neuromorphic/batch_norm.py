"""Folds BatchNorm into the layer before it, in a PyTorch model that is to be exported to NIR.

NIR has no node for BatchNorm, and the exporters of snnTorch, Norse, Sinabs and SpikingJelly refuse it. In evaluation
mode it is an affine map of each channel, y = gamma (x - mean) / sqrt(var + eps) + beta. After a linear layer W x + b
the result is again a linear layer, with weight W gamma / sqrt(var + eps) and bias (b - mean) gamma / sqrt(var + eps) +
beta.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from neuromorphic.arguments import check_type
from neuromorphic.errors import UnsupportedGraphError, first_line

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold every BatchNorm of a model into the layer before it.

    >>> net = neuromorphic.fold_batch_norm(net)
    >>> snntorch.export_nir.export_to_nir(net, x)

    The layer is a Linear, Conv1d or Conv2d. In a ``Sequential`` the BatchNorm is removed. In a ``forward`` that PyTorch
    can trace it is replaced by an Identity.

    Args:
        model: The model. It is not changed.

    Returns:
        A copy in evaluation mode, without BatchNorm. Its outputs are those of the model in evaluation mode, up to
        rounding.

    Raises:
        ArgumentError: ``model`` is not a module.
        UnsupportedGraphError: a BatchNorm does not follow such a layer, has no running statistics, or is not the only
            reader of the layer's output; the message names it.
    """
    check_type("the model", model, nn.Module, "give a torch.nn.Module")
    model = deepcopy(model).eval()
    for parent in list(model.modules()):
        if isinstance(parent, nn.Sequential):
            fold_in_sequential(model, parent)
    if norms := [name for name, module in model.named_modules() if isinstance(module, NORMS)]:
        fold_in_forward(model, norms)
    return model


def fold_in_sequential(model: nn.Module, parent: nn.Sequential) -> None:
    """Fold each BatchNorm that follows a layer in one Sequential, and remove it."""
    names = list(parent._modules)
    layers: list[tuple[str, nn.Module]] = []
    for name in names:
        module = parent._modules[name]
        assert module is not None
        if isinstance(module, NORMS) and layers and isinstance(layers[-1][1], LAYERS):
            last, layer = layers[-1]
            layers[-1] = last, fused(layer, module, path_of(model, module))
        else:
            layers.append((name, module))
    if len(layers) == len(names):
        return
    numbered = names == [str(k) for k in range(len(names))]
    kept = {str(k) if numbered else name: module for k, (name, module) in enumerate(layers)}
    if type(parent) is not nn.Sequential and numbered:
        # Norse's SequentialState, for one, records in its constructor which of its modules have a state.
        vars(parent).update(vars(type(parent)(*kept.values())))
        return
    parent._modules.clear()
    for name, module in kept.items():
        parent.add_module(name, module)


def fold_in_forward(model: nn.Module, norms: list[str]) -> None:
    """Fold each BatchNorm that a ``forward`` applies to the output of a layer.

    Args:
        model: The model, changed in place.
        norms: Names of its BatchNorms.

    Raises:
        UnsupportedGraphError: PyTorch cannot trace ``forward``, or a BatchNorm cannot be folded; the message names it.
    """
    try:
        calls = Tracer().trace(model)
    except Exception as error:  # Whatever the model's code raises when it is given stand-ins for tensors.
        raise UnsupportedGraphError(
            f"BatchNorm '{norms[0]}' is in no Sequential behind a layer, and PyTorch cannot trace forward "
            f"({first_line(error)[:120]}); put the layer and it into a Sequential"
        ) from None
    before: dict[str, set[str]] = {name: set() for name in norms}
    uses: dict[str, set[str]] = {}
    for call in calls.nodes:
        if call.op != "call_module":
            continue
        if call.target in before:
            source = call.args[0] if call.args else None
            known = isinstance(source, fx.Node) and source.op == "call_module"
            before[str(call.target)].add(str(getattr(source, "target", "")) if known else "")
        uses.setdefault(str(call.target), set()).update(
            str(user.target) if user.op == "call_module" else "" for user in call.users
        )
    for name, sources in before.items():
        layer = model.get_submodule(next(iter(sources))) if sources and "" not in sources else None
        if len(sources) != 1 or not isinstance(layer, LAYERS):
            raise UnsupportedGraphError(
                f"BatchNorm '{name}' is not behind one Linear, Conv1d or Conv2d; fold it by hand, or move it there"
            )
        (source,) = sources
        if uses[source] != {name}:
            raise UnsupportedGraphError(f"layer '{source}' feeds more than its BatchNorm '{name}'; copy the layer")
        replace_module(model, source, fused(layer, model.get_submodule(name), name))
        replace_module(model, name, nn.Identity())


class Tracer(fx.Tracer):
    """Traces into Sequentials, ModuleLists and modules that contain a BatchNorm; other modules are single calls."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Whether a module is a single call: it is not traced into."""
        return not isinstance(module, nn.Sequential | nn.ModuleList) and not any(
            isinstance(own, NORMS) for own in module.modules() if own is not module
        )


def fused(layer: Any, norm: Any, name: str) -> nn.Module:
    """A layer with the BatchNorm ``name`` folded into its weight and bias.

    Raises:
        UnsupportedGraphError: the BatchNorm has no running statistics, or another number of channels.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedGraphError(
            f"BatchNorm '{name}' has no running statistics (track_running_stats=False): what it does depends on the "
            "batch; train it with them"
        )
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if channels != norm.num_features:
        raise UnsupportedGraphError(
            f"BatchNorm '{name}' normalises {norm.num_features} channels, the layer before it gives {channels}"
        )
    if not norm.affine:  # PyTorch's function for linear layers does not take it so.
        norm = deepcopy(norm)
        norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
    fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return cast(nn.Module, fuse(layer, norm))


def path_of(model: nn.Module, module: nn.Module) -> str:
    """A module's dotted name in the model; its class where it has none."""
    return next((name for name, own in model.named_modules() if own is module), type(module).__name__)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of a dotted name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
