"""The last layers of a pretrained backbone, trained with the model on the maps that the graphs keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gshn.backbones.base import Tail
from gshn.encoders.chunks import rows_in_chunks
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

    def forward(self, graphs: SceneGraph, chunk: int | None = None) -> Tensor:
        """Features of the nodes of B graphs.

        Args:
            graphs: The graphs, with maps.
            chunk: Number of images at a time, each computed again in the backward pass (:mod:`gshn.encoders.chunks`).

        Returns:
            Shape (N, sum_k D_k), float32, with D_k the channels that tail k gives.
        """
        own = node_mask_of(graphs.batch, graphs.num_graphs)
        images, views = graphs.maps.shape[:2]
        cells = pad_nodes(graphs.cells, own)

        def seen_as(view: Tensor) -> Tensor:
            maps = graphs.maps[torch.arange(images, device=view.device), view]
            columns = (maps, graphs.extent, cells, view)
            return self.pooled(*columns) if chunk is None else rows_in_chunks(self.pooled, chunk, *columns)

        if self.training:
            return seen_as(torch.randint(views, (images,), device=own.device))[own].float()
        each = [seen_as(torch.full((images,), view, device=own.device))[own] for view in range(views)]
        return torch.stack(each).mean(dim=0).float()

    def pooled(self, maps: Tensor, extent: Tensor, cells: Tensor, view: Tensor) -> Tensor:
        """Features of the nodes of B images as one view of each shows them.

        Args:
            maps: Maps of this view, shape (B, sum_k C_k S_k^2).
            extent: :attr:`SceneGraph.extent`, shape (B, K, 2).
            cells: :attr:`SceneGraph.cells`, padded to P nodes an image, shape (B, P, sum_k S_k^2).
            view: 0 where it is the image, 1 where it is the mirror image, shape (B,).

        Returns:
            Shape (B, P, sum_k D_k).
        """
        tails: Sequence[Tail] = tuple(self.tails)  # type: ignore[arg-type]
        sizes = [tail.side**2 for tail in tails]
        read = maps.split([tail.channels * size for tail, size in zip(tails, sizes, strict=True)], dim=1)
        features = []
        for k, (tail, flat, weight) in enumerate(zip(tails, read, cells.split(sizes, dim=2), strict=True)):
            place = torch.arange(tail.side, device=view.device)
            rows, columns = extent[:, k, :1], extent[:, k, 1:]
            # In the mirror image cell j is what cell (columns - 1 - j) is in the image.
            source = torch.where((view[:, None] == 1) & (place < columns), columns - 1 - place, place)
            weight = weight.unflatten(2, (tail.side, tail.side))
            weight = weight.gather(3, source[:, None, None].expand_as(weight))
            inside = (place < rows)[:, :, None] & (place < columns)[:, None]
            mapped = tail(flat.unflatten(1, (tail.channels, tail.side, tail.side)).float(), inside)
            features.append(weight.flatten(2) @ mapped.flatten(2).transpose(1, 2))  # (B, P, cells) x (B, cells, D_k)
        return torch.cat(features, dim=2)
