"""The last layers of a pretrained backbone, trained with the model on the maps that the graphs keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gshn.backbones.base import Tail
from gshn.encoders.padding import node_mask_of, pad_nodes
from gshn.graphs.scene_graph import SceneGraph


class TunedFeatures(nn.Module):
    """Visual features of the nodes, by tails whose weights are trained (``graph.tune``).

    feature[n] = concatenation over tails k of sum_c weight_k[n, c] tail_k(map_k)[c]

    with the cells c of the map of the node's image, and the weights of
    :func:`gshn.graphs.region_features.cell_weights`. Before training they equal the frozen backbone's, up to the
    float16 of the maps.

    With ``graph.mirror`` there are maps of the mirror image, too. In training one of the two is drawn for each image,
    which costs half and shows the model more pictures; in eval mode the features are the mean of both.

    Args:
        tails: One for each network of the backbone; :attr:`~gshn.backbones.base.Tail.side` is known.
    """

    def __init__(self, tails: Sequence[Tail]) -> None:
        super().__init__()
        self.tails = nn.ModuleList(tails)
        self.requires_grad_(True)

    def forward(self, graphs: SceneGraph) -> Tensor:
        """Features of the nodes of B graphs, shape (N, sum_k D_k), float32, with D_k the channels that tail k gives."""
        own = node_mask_of(graphs.batch, graphs.num_graphs)
        images, views = graphs.maps.shape[:2]
        if not self.training:
            each = [self._view(graphs, own, torch.full((images,), v, device=own.device)) for v in range(views)]
            return torch.stack(each).mean(dim=0)
        return self._view(graphs, own, torch.randint(views, (images,), device=own.device))

    def _view(self, graphs: SceneGraph, own: Tensor, view: Tensor) -> Tensor:
        """Features as one view of each image shows them, 0 the image or 1 its mirror image: view of shape (B,)."""
        maps = graphs.maps[torch.arange(len(view), device=view.device), view]
        sizes = [tail.side**2 for tail in self._each()]
        read = maps.split([tail.channels * size for tail, size in zip(self._each(), sizes, strict=True)], dim=1)
        features = []
        for k, (tail, cells) in enumerate(zip(self._each(), graphs.cells.split(sizes, dim=1), strict=True)):
            side, extent = tail.side, graphs.extent[:, k]
            weight = pad_nodes(cells, own).unflatten(2, (side, side))
            column = torch.arange(side, device=view.device)
            last = extent[:, 1:] - 1
            # In the mirror image cell j is what cell (columns - 1 - j) is in the image.
            from_column = torch.where((view[:, None] == 1) & (column <= last), last - column, column)
            weight = weight.gather(3, from_column[:, None, None].expand_as(weight))
            inside = (column < extent[:, :1])[:, :, None] & (column < extent[:, 1:])[:, None]
            mapped = tail(read[k].unflatten(1, (tail.channels, side, side)).float(), inside)
            # (B, P, cells) x (B, cells, D)
            features.append((weight.flatten(2) @ mapped.flatten(2).transpose(1, 2))[own])
        return torch.cat(features, dim=1).float()

    def _each(self) -> Sequence[Tail]:
        return tuple(self.tails)  # type: ignore[arg-type]
