"""Counting what a checkpoint computes: its spiking path from real spikes, everything else from its operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from gshn.encoders.hybrid import EncodedGraphs, HybridEncoder
from gshn.encoders.spiking import SpikingGraphEncoder
from gshn.encoders.text import tokenize
from gshn.export.side_by_side import constant_input, network_of, pytorch_spikes, run_images
from gshn.inference import SpikingInput, device_of
from gshn.model import GSHN
from gshn.profiling.dense import count_operations
from gshn.registry import SEGMENTERS
from gshn.training.corpora import Corpora
from neuromorphic.arguments import check_choice
from neuromorphic.backends import PRECISIONS, Precision
from neuromorphic.errors import ArgumentError, UserError
from neuromorphic.execution.operations import LayerCount, count_layers
from neuromorphic.profiling.energy import Operations, Workload

Source = Literal["torch", "numpy", "lava", "c"]
"""Where spikes come from."""


def check_source(source: object, precision: object) -> Source:
    """Check where spikes are to come from.

    Returns:
        The source.

    Raises:
        ArgumentError: a word is unknown, or the two do not go together.
    """
    check_choice("source of spikes", source, get_args(Source))
    check_choice("precision", precision, PRECISIONS)
    if source == "torch" and precision == "fixed":
        raise ArgumentError("fixed point needs the source numpy, lava or c")
    return cast(Source, source)


@dataclass(frozen=True)
class ImageCount:
    """Counts of one image's spiking path.

    Attributes:
        name: Name of the image.
        nodes, edges: Numbers of nodes and edges of its scene graph: edges that spikes pass along, self-loops included.
        layers: Counts by LIF layer.
        spikes_per_step: Spikes in each step, by LIF layer, shape (T,).
        workload: What hardware has to do for it.
    """

    name: str
    nodes: int
    edges: int
    layers: dict[str, LayerCount]
    spikes_per_step: dict[str, NDArray[np.int64]]
    workload: Workload

    @property
    def total(self) -> LayerCount:
        """All layers together."""
        return sum(self.layers.values(), LayerCount())


def count_image(
    encoder: SpikingGraphEncoder, name: str, image: SpikingInput, spikes: dict[str, NDArray[np.bool_]]
) -> ImageCount:
    """Count one image, whose layers sent spikes of shape (T, N C)."""
    network = network_of(encoder, image)
    sent = {"input": constant_input(image.x, encoder.steps), **spikes}
    sent["output"] = spikes[list(spikes)[-1]]
    counts = count_layers(network, sent)
    layers = {layer: counts[layer] for layer in spikes}
    edges = image.aggregation.edge_index.shape[1]
    return ImageCount(
        name=name,
        nodes=image.num_nodes,
        edges=edges,
        layers=layers,
        spikes_per_step={layer: own.sum(axis=1) for layer, own in spikes.items()},
        workload=spiking_workload(encoder, layers, spikes, edges),
    )


def spiking_workload(
    encoder: SpikingGraphEncoder, layers: dict[str, LayerCount], spikes: dict[str, NDArray[np.bool_]], edges: int
) -> Workload:
    """What hardware has to do for one image.

    Both ways, the first layer's current W_0 x + b_0 is computed once: the input is the same in every step. Then
    unrolled, a spike is one accumulate for every edge that leaves its node and every neuron at its end; factored, it is
    one for every neuron of its own node, and in every step the sums are handed along the edges, a product and a sum for
    each edge and channel. A weight of 0 takes none.
    """
    counts, weights = list(layers.values()), encoder.weights
    fired = sum(count.spikes for count in counts)
    both = Operations(
        mac=counts[0].synaptic_operations / encoder.steps,
        neuron_update=sum(count.neuron_updates for count in counts),
        firing=fired,
        spike=fired,
    )
    transformed = 0
    for own, weight in zip(list(spikes.values())[:-1], weights[1:], strict=True):
        by_channel = own.reshape(-1, weight.shape[1]).sum(axis=0)
        transformed += int(by_channel @ np.count_nonzero(weight.detach().cpu().numpy(), axis=0))
    handed = 2 * encoder.steps * edges * sum(weight.shape[0] for weight in weights[1:])
    return Workload(
        factored=both + Operations(ac=transformed, elementwise=handed),
        unrolled=both + Operations(ac=sum(count.effective_acs for count in counts[1:])),
    )


def count_images(
    encoder: SpikingGraphEncoder,
    images: dict[str, SpikingInput],
    source: Source = "torch",
    precision: Precision = "float",
) -> list[ImageCount]:
    """Count the spiking paths of images, from the spikes that PyTorch, the reference or Lava gives.

    Raises:
        ArgumentError: an unknown source or precision.
    """
    check_source(source, precision)
    if source == "torch":
        names = [f"lif_{k}" for k in range(len(encoder.linears))]
        trains = [dict(zip(names, pytorch_spikes(encoder, image), strict=True)) for image in images.values()]
    else:
        trains = run_images(encoder, list(images.values()), precision, source).spikes
    bar = tqdm(zip(images.items(), trains, strict=True), "count operations", len(images), unit=" images", leave=False)
    return [count_image(encoder, name, image, spikes) for (name, image), spikes in bar]


@dataclass
class Parts:
    """Operations of a model's parts, for one image and one text.

    Attributes:
        operations: By part; the spiking path is not among them.
        simulated: Operations of the spiking path, as PyTorch computes it: every product, with spikes or without.
        not_counted: Parts of which nothing is known, and why.
    """

    operations: dict[str, Operations] = field(default_factory=dict)
    simulated: Operations = field(default_factory=Operations)
    not_counted: dict[str, str] = field(default_factory=dict)


def count_parts(model: GSHN, images: int) -> Parts:
    """Count everything around the spiking path, over the first held-out images and their first captions.

    ``segmentation`` and ``features`` come before the scene graph, ``nodes`` embeds its nodes, ``gat`` is the continuous
    path, ``readout`` V' and the image's embedding, ``text`` a caption's, ``matching`` compares the two, ``fusion`` is
    one text looking at one image's nodes and pointing at them, as for an answer.
    """
    assert isinstance(model.encoder, HybridEncoder)
    corpora = Corpora(model.config, model.vocabulary)
    pairs, device = corpora.test_pairs, device_of(model)
    graphs = pairs.graphs.batch(range(images)).to(device)
    inputs = model.node_inputs(graphs)
    parts = Parts()
    shares = parts.operations
    count_pixels(corpora, parts)
    each = 1 / images
    shares["nodes"] = count_operations(lambda: model.node_inputs(graphs)) * each
    if (gat := model.encoder.gat) is not None:
        shares["gat"] = count_operations(lambda: gat(inputs.x, inputs.edge_index, inputs.edge_attr)) * each
    if (spiking := model.encoder.spiking) is not None:
        x, aggregation = model.encoder.spiking_inputs(inputs)
        parts.simulated = count_operations(lambda: spiking(x, aggregation)) * each
    with torch.no_grad():
        encoded = model.encoder(inputs)
    shares["readout"] = count_operations(lambda: read_out(model, encoded)) * each
    captions = [own[0] for own, _ in zip(pairs.captions(), range(images), strict=False)]
    ids, mask = (t.to(device) for t in tokenize(model.tokenizer, captions))
    shares["text"] = count_operations(lambda: model.embed_texts(model.encode_text(ids, mask))) * each
    with torch.no_grad():
        embedded = model.embed_images(encoded)
        read = model.encode_text(ids, mask)
        texts = model.embed_texts(read)
        tokens = model.node_tokens(encoded)
    shares["matching"] = count_operations(lambda: model.similarity(texts, embedded)) * each**2
    shares["fusion"] = count_operations(lambda: model.evidence(read, tokens)) * each
    return parts


def read_out(model: GSHN, encoded: EncodedGraphs) -> None:
    """V' = r E_SNN + F_GAT, the readout and the embeddings, given both paths' outputs."""
    encoder = model.encoder
    assert isinstance(encoder, HybridEncoder)
    discrete = encoded.nodes if encoded.spikes is None else encoder.discrete(encoded.spikes).to(encoded.nodes.dtype)
    encoder.image(encoder.r * discrete + encoded.nodes, encoded.batch, encoded.num_graphs, encoded.whole)
    model.embed_images(encoded)


def count_pixels(corpora: Corpora, parts: Parts) -> None:
    """Count what comes before the scene graph: the segmenter and the backbone, on the first held-out image."""
    try:
        images = corpora.images("test", 1)
        sample = images[0]
        segmenter = corpora.segmenter_of(images)
    except UserError as error:
        parts.not_counted |= dict.fromkeys(("segmentation", "features"), str(error))
        return
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(sample.image, 2, 0)))[None]
    if corpora.backbone.trainable:
        parts.not_counted["features"] = "the backbone is trained with the model: see nodes"
    else:
        parts.operations["features"] = count_operations(lambda: corpora.backbone(pixels.to(corpora.backbone.device)))
    data, uncounted = (
        corpora.config.data.pairs,
        "superpixels are not PyTorch's, and what they compute cannot be counted",
    )
    if corpora.config.graph.regions == "patches":
        parts.operations["segmentation"] = Operations()
    elif SEGMENTERS[data.segmenter].traits.learned:
        parts.operations["segmentation"] = count_operations(lambda: segmenter(sample.image))
        if data.segmenter == "semantic" and data.fill:
            parts.not_counted["background"] = uncounted
    elif data.segmenter == "ground-truth":
        parts.not_counted["segmentation"] = "the segments are the data set's own annotation: nothing was computed"
    else:
        parts.not_counted["segmentation"] = uncounted


def totals(images: Sequence[ImageCount]) -> dict[str, LayerCount]:
    """Layers over all images."""
    out: dict[str, LayerCount] = {}
    for image in images:
        for layer, count in image.layers.items():
            out[layer] = out.get(layer, LayerCount()) + count
    return out
