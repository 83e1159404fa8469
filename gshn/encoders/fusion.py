"""Image-text fusion: text tokens attend to the scene graph's node tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gshn.encoders.padding import in_groups_of_like_length


class FusionTransformer(nn.Module):
    """A pre-norm transformer whose layers have self-attention over text and cross-attention to nodes."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float):
        super().__init__()
        layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))

    def forward(self, text: Tensor, text_mask: Tensor, nodes: Tensor, node_mask: Tensor) -> Tensor:
        """Fuse.

        Args:
            text: Hidden states, shape (B, L, C).
            text_mask: True at tokens, shape (B, L).
            nodes: Node tokens V', shape (B, S, C), padded.
            node_mask: True at nodes, shape (B, S).

        Returns:
            Fused text states, shape (B, L, C).
        """

        def encode(rows: Tensor, length: int) -> Tensor:
            return self.decoder(
                text[rows, :length],
                nodes[rows],
                tgt_key_padding_mask=~text_mask[rows, :length].bool(),
                memory_key_padding_mask=~node_mask[rows],
            )

        return in_groups_of_like_length(encode, text_mask)

    @contextmanager
    def watched(self) -> Iterator[list[Tensor]]:
        """Record attention: the context gives a list, to which each call of each layer appends its attention to nodes.

        Each entry is the mean over the heads, shape (rows, L, S).
        """
        weights: list[Tensor] = []

        def ask(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, object]) -> tuple[Any, Any]:
            return args, {**kwargs, "need_weights": True}

        def keep(module: nn.Module, args: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
            weights.append(output[1])

        hooks: list[RemovableHandle] = []
        for layer in self.decoder.layers:
            assert isinstance(layer, nn.TransformerDecoderLayer)
            hooks.append(layer.multihead_attn.register_forward_pre_hook(ask, with_kwargs=True))
            hooks.append(layer.multihead_attn.register_forward_hook(keep))
        try:
            yield weights
        finally:
            for hook in hooks:
                hook.remove()
