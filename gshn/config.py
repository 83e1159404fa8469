"""Configuration: one dataclass per stage, read from YAML and ``key=value`` overrides by OmegaConf, validated once.

The defaults of the dataclasses are the config ``default``; the files in ``gshn/configs`` name what they change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from gshn.backbone_names import parse_backbone
from gshn.errors import ConfigError, tell
from gshn.registry import DATASETS, LOSSES, NEURONS, SEGMENTERS, TEXT_ENCODERS, Kind, LossTraits, Registry

CONFIGS = Path(__file__).parent / "configs"


def _check(condition: bool, key: str, value: object, mend: str) -> None:
    if not condition:
        raise ConfigError(f"config key '{key}' is {value!r}: {mend}")


def _one_of(key: str, value: str, *choices: str) -> None:
    _check(value in choices, key, value, f"choose one of {', '.join(choices)}")


def _registered(key: str, value: str, registry: Registry) -> None:
    _check(value in registry, key, value, f"choose one of {', '.join(registry)}")


def is_drawn(source: str) -> bool:
    """Whether the images of a data set are drawn, and have no end; not of one that is not known here."""
    kind = DATASETS.get(source)
    return kind is not None and kind.traits.drawn


@dataclass(frozen=True)
class Range:
    """What a number of the configuration may be: finite, and between two bounds.

    Attributes:
        low: Least value.
        high: Largest value.
        above: Whether ``low`` itself is excluded.
        below: Whether ``high`` itself is excluded.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        over = self.low < value if self.above else self.low <= value
        return over and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        return f"{'(' if self.above else '['}{self.low:g}, {self.high:g}{')' if self.below else ']'}"


COUNT = Range(0, 1e9)
SOME = Range(1, 1e9)
"""Of items or steps: a bound that no run reaches, so that a typing error is found."""
DEPTH = Range(1, 64)
HEADS = Range(1, 128)
SIDE = Range(48, 4096)
"""Pixels."""
WEIGHT = Range(0, 1000)
SHARE = Range(0, 1)
DROPOUT = Range(0, 1, below=True)
SEED = Range(0, 2**63 - 1)
LEARNING_RATE = Range(0, 10, above=True)
SECONDS = Range(1e-9, 10)
GRADIENT_NORM = Range(0, 1e9, above=True)


def number(default: Any, within: Range) -> Any:
    """A field that holds a number or null, or a tuple of numbers, with the range that they have to lie in."""
    return field(default=default, metadata={"range": within})


@cache
def numeric(cls: type) -> dict[str, Range | None]:
    """The fields of a section that hold numbers, with their ranges; None where a field was given none."""
    hints = get_type_hints(cls)
    kinds = {f.name: {hints[f.name], *get_args(hints[f.name])} for f in fields(cls)}
    return {f.name: f.metadata.get("range") for f in fields(cls) if kinds[f.name] & {int, float}}


class Section:
    """A part of the configuration; every number in it has a range, checked before anything else is.

    Attributes:
        prefix: Its dotted key, with a dot at the end.
    """

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, within in numeric(type(self)).items():  # type: ignore[arg-type]
            if within is None:
                raise TypeError(f"{type(self).__name__}.{name} has no range")
            value = getattr(self, name)
            for item in value if isinstance(value, list | tuple) else [value]:
                _check(item is None or item in within, f"{self.prefix}{name}", value, f"must lie in {within}")


TASKS = ("vqa", "entailment", "nlvr2")
"""What is fine-tuned on, besides retrieval: see :mod:`gshn.data.tasks`."""


def _check_images(data: PairData | TaskData) -> None:
    key = data.prefix.rstrip(".")
    _registered(f"{key}.segmenter", data.segmenter, SEGMENTERS)
    for name in ("train", "test"):
        counted = not is_drawn(data.source) or getattr(data, name) is not None
        _check(counted, f"{key}.{name}", None, f"{data.source} has no end: give a number, for train and test")
    learned = SEGMENTERS[data.segmenter].traits.learned
    _check(not learned or bool(data.weights), f"{key}.weights", data.weights, f"{data.segmenter} needs weights")


@dataclass
class CaptionFile(Section):
    """Columns, images and splits of the FILE in data.pairs.source=captions:FILE, a table (CSV, TSV) or JSON lines."""

    prefix: ClassVar[str] = "data.pairs.file."

    folder: str | None = None
    """Folder that image paths are relative to. null: the folder of the file."""
    image_column: str | None = None
    """Name of the column with image paths. null: one of the usual names."""
    caption_column: str | None = None
    """Name of the column with captions. null: one of the usual names."""
    split: str | None = None
    """Name of a column with train, val or test; or the shares of the splits in percent, such as 80/10/10. null: the
    column "split" if there is one, else 80/10/10."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (shares := self.shares) is not None:
            mend = "give percent of train, val and test that sum to 100, as in 80/10/10"
            _check(abs(sum(shares) - 1) < 1e-9, "data.pairs.file.split", self.split, mend)

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """Shares of train, val and test, as fractions. None where :attr:`split` is a column, or null."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", self.split or "")
        if match is None:
            return None
        train, val, test = (float(part) / 100 for part in match.groups())
        return train, val, test


@dataclass
class PairData(Section):
    """Images with captions, for pretraining and retrieval."""

    prefix: ClassVar[str] = "data.pairs."

    source: str = "shapescenes"
    """Data set. shapescenes; shapescenes-compositions, with held-out compositions (docs/tasks.md); coco:DIR,
    flickr30k:DIR, flickr8k:DIR or visual-genome:DIR in their official layouts; captions:FILE, your own photographs
    (docs/own-images.md); or shards:DIR, written by gshn.preprocess."""
    file: CaptionFile = field(default_factory=CaptionFile)
    """How the FILE of captions:FILE is read."""
    train: int | None = number(6000, SOME)
    """Number of training images, the first of the split. null: all (ShapeScenes needs a number)."""
    test: int | None = number(1000, SOME)
    """Number of held-out images for the evaluation of retrieval. null: all (ShapeScenes needs a number)."""
    image_size: int = number(96, SIDE)
    """Pixels. Width and height of ShapeScenes; longest side of photographs, larger ones are scaled down to it."""
    segmenter: str = "ground-truth"
    """Segmenter (docs/segmenters.md): ground-truth, superpixels, features[:BACKBONE], mask2former, semantic or
    detectron2. Shards are segmented already."""
    weights: str | None = None
    """Weights of a learned segmenter: a folder, or a name on the hub."""
    segments: int | None = number(None, Range(1, 10000))
    """Number of segments of an image, for superpixels and features: regions are merged until this number is left. With
    a semantic segmenter the background gets its share of this number, by area. null: superpixels are merged by the
    distance of their colours. Other segmenters do not use it."""
    fill: bool = True
    """Whether superpixels divide the background of a semantic segmenter. false: the background is void."""
    leave_out: str | None = None
    """Text file with a name of a photograph on each line. These photographs are not trained on, neither for retrieval
    nor for a task. null: none."""
    caption_weights: list[float] = field(default_factory=lambda: [6.0, 1.0, 1.0, 1.0, 1.0], metadata={"range": WEIGHT})
    """Relative frequency in training of ShapeScenes' five captions, from the most to the least detailed. Captions of
    other data sets are equally frequent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self)
        mend = "drawn scenes have no names; null, or photographs as data.pairs.source"
        _check(self.leave_out is None or not is_drawn(self.source), "data.pairs.leave_out", self.leave_out, mend)
        ok = len(self.caption_weights) == 5 and sum(self.caption_weights) > 0
        _check(ok, "data.pairs.caption_weights", self.caption_weights, "give 5 weights >= 0, one of them > 0")


@dataclass
class TaskData(Section):
    """Images with the texts of a task, for fine-tuning."""

    source: str
    """shapescenes or shapescenes-compositions; or the task's data set in its official layout."""
    train: int | None = number(None, SOME)
    """Number of training images, with all their texts. null: all (ShapeScenes needs a number)."""
    test: int | None = number(None, SOME)
    """Number of held-out images. null: all (ShapeScenes needs a number)."""
    image_size: int = number(224, SIDE)
    """As in data.pairs."""
    segmenter: str = "superpixels"
    """As in data.pairs; easy-VQA has no ground truth."""
    weights: str | None = None
    """As in data.pairs."""
    segments: int | None = number(None, Range(1, 10000))
    """As in data.pairs."""
    fill: bool = True
    """As in data.pairs."""


@dataclass
class QuestionData(TaskData):
    """Images with questions: the task vqa."""

    prefix: ClassVar[str] = "data.questions."

    source: str = "easyvqa"
    """easyvqa, shapescenes, shapescenes-compositions, vqa2:DIR or daquar:DIR."""
    answers: int = number(3129, Range(2, 1e6))
    """Size of the answer vocabulary, the most frequent answers of the training questions."""
    wordnet: str | None = None
    """Folder with WordNet's files index.noun, data.noun and noun.exc, for WUPS, a metric of DAQUAR. null: WordNet of
    the extra wups."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self)


@dataclass
class HypothesisData(TaskData):
    """Images with hypotheses: the task entailment."""

    prefix: ClassVar[str] = "data.hypotheses."

    source: str = "snli-ve:data/snli-ve"
    """snli-ve:DIR, shapescenes or shapescenes-compositions."""
    images: str | None = None
    """Folder of the photographs for snli-ve:DIR. null: those of Flickr30K, in DIR."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self)
        ok = self.images is None or self.source.startswith("snli-ve:")
        _check(ok, "data.hypotheses.images", self.images, "null, or data.hypotheses.source=snli-ve:DIR")


@dataclass
class StatementData(TaskData):
    """Pairs of images with statements: the task nlvr2."""

    prefix: ClassVar[str] = "data.statements."

    source: str = "nlvr2:data/nlvr2"
    """nlvr2:DIR, shapescenes or shapescenes-compositions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self)


@dataclass
class DataConfig(Section):
    """Data sets, and the cache of scene graphs."""

    prefix: ClassVar[str] = "data."

    pairs: PairData = field(default_factory=PairData)
    questions: QuestionData = field(default_factory=QuestionData)
    hypotheses: HypothesisData = field(default_factory=HypothesisData)
    statements: StatementData = field(default_factory=StatementData)
    show: str = "both"
    """Modalities. both; texts: all images are replaced by the same one; images: all texts are empty. The last two are
    text-only and image-only baselines."""
    allow_overlap: bool = False
    """Whether a picture may be in the training and in the test data. false: a run with such pictures does not start."""
    upright: bool = True
    """Whether photographs, with their annotated segments, are turned by their EXIF orientation. false: pixels as
    stored."""
    cache: str = "cache"
    """Folder of computed scene graphs. It can be deleted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("data.show", self.show, "both", "texts", "images")


@dataclass
class GraphConfig(Section):
    """Segments -> scene graph."""

    prefix: ClassVar[str] = "graph."

    backbone: str = "efficientnet_lite0"
    """Visual backbone (docs/backbones.md). efficientnet_lite0 or efficientnet_lite2 (ImageNet weights), timm:NAME or
    transformers:NAME_OR_FOLDER, all frozen; or small_conv, trained with the model. NAME@224: images are scaled to a
    longer side of 224 pixels. NAME+NAME: the features of both, concatenated."""
    levels: list[int] | None = None
    """Strides of the feature maps that are pooled under segments, for each backbone. null: the backbone's default."""
    pooling: str = "cells"
    """How maps are pooled under a segment. cells: each pixel has the features of the cell that contains it. bilinear:
    features are interpolated between the four nearest cells."""
    precision: str = "float32"
    """Precision of a frozen backbone: float32 or bfloat16. bfloat16 is faster on processors with bfloat16 matrix units
    (x86 with AMX, NVIDIA GPUs)."""
    mirror: bool = False
    """Whether a frozen backbone computes each image and its mirror image. Features are the mean of both, which takes
    twice as long."""
    tune: str = "none"
    """What of the backbone is trained with the model, at the learning rate of pretrained parts. none; or last:K: the
    last K blocks and the layers after them, of efficientnet_lite0 and efficientnet_lite2 at a size (@). The graphs keep
    the maps that these blocks read."""
    neighbours: int = number(4, Range(0, 1000))
    """Each node has edges to this number of nearest nodes, besides the edges between touching segments."""
    max_segments: int = number(64, Range(1, 10000))
    """Largest number of segments of an image. The largest segments are kept."""
    regions: str = "masks"
    """Region of a node. masks: the pixels of a segment. boxes: all pixels of its bounding box. patches: a cell of a
    grid, without the segmenter. boxes and patches are baselines."""
    patches: int = number(6, Range(1, 48))
    """Number of patches along each side of the image, for regions=patches."""
    whole_image: bool = False
    """Whether the graph has one more node, the first, for the whole image, with edges to and from all other nodes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_backbone(self.backbone)
        if self.levels is not None:
            ok = bool(self.levels) and min(self.levels) > 0 and len(set(self.levels)) == len(self.levels)
            _check(ok, "graph.levels", self.levels, "give strides, each once, such as [4, 32], or null")
        _one_of("graph.pooling", self.pooling, "cells", "bilinear")
        mend = "choose none or last:K, e.g. last:1"
        _check(bool(re.fullmatch(r"none|last:[1-9]", self.tune)), "graph.tune", self.tune, mend)
        _one_of("graph.precision", self.precision, "float32", "bfloat16")
        _one_of("graph.regions", self.regions, "masks", "boxes", "patches")

    @property
    def tuned_blocks(self) -> int:
        """K of ``tune=last:K``; 0 for ``none``."""
        return int(self.tune.partition(":")[2] or 0)


@dataclass
class GATConfig(Section):
    """Continuous path, F_GAT."""

    prefix: ClassVar[str] = "model.gat."

    enabled: bool = True
    layers: int = number(2, DEPTH)
    heads: int = number(4, HEADS)


@dataclass
class TransformerConfig(Section):
    """A transformer, plain or spiking, in place of the hybrid encoder."""

    prefix: ClassVar[str] = "model.transformer."

    layers: int = number(2, DEPTH)
    heads: int = number(4, HEADS)


@dataclass
class SpikingConfig(Section):
    """Discrete path, E_SNN."""

    prefix: ClassVar[str] = "model.spiking."

    enabled: bool = True
    neuron: str = "lif"
    """lif; or a neuron without spikes for comparison, with steps=1: relu, max(0, current), or clipped_relu,
    min(1, max(0, current)), whose mean is penalised like a firing rate."""
    layers: int = number(2, DEPTH)
    steps: int = number(8, Range(1, 1024))
    """Number T of time steps."""
    dt: float = number(1e-4, SECONDS)
    """Time step, seconds. snnTorch's NIR importer assumes this value."""
    tau: float = number(2e-4, SECONDS)
    """Membrane time constant, seconds, at least dt."""
    v_threshold: float = number(1.0, Range(1e-3, 1000))
    surrogate: str = "atan"
    """Surrogate gradient: atan, fast_sigmoid or sigmoid, as in snntorch.surrogate."""
    slope: float = number(5.0, Range(1e-3, 1000))
    """Steepness of the surrogate gradient."""
    aggregation: str = "degree"
    """Aggregation matrix A. degree: w I + (1 - w) D^-1 Adj. attention: that of the last GAT layer, mean over heads."""
    self_weight: float = number(0.9, SHARE)
    """w of aggregation=degree."""
    width: int | None = number(None, Range(1, 8192))
    """Number of neurons of each layer, per node. null: model.width."""
    readout: str = "rates"
    """E_SNN. rates: the firing rates of the last layer; needs width=null. linear: a linear map of the firing rates of
    all layers."""
    text: str = "words"
    """Input of spiked text learning's neurons. words: the entry of each token in the text encoder's dictionary. whole:
    the text encoder's state of the whole text."""
    quantize: bool = False
    """Whether training uses synapses rounded to 8 bits (docs/lava.md). Needs lava-dl. Evaluation stays in float."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _registered("model.spiking.neuron", self.neuron, NEURONS)
        if self.spikes:
            _check(self.steps >= 2, "model.spiking.steps", self.steps, "must be at least 2")
        else:
            mend = f"must be 1 where model.spiking.neuron is {self.neuron}"
            _check(self.steps == 1, "model.spiking.steps", self.steps, mend)
            _check(not self.quantize, "model.spiking.quantize", self.quantize, "needs model.spiking.neuron=lif")
        _check(self.dt <= self.tau, "model.spiking.dt", self.dt, f"must be at most model.spiking.tau ({self.tau:g})")
        _one_of("model.spiking.surrogate", self.surrogate, "atan", "fast_sigmoid", "sigmoid")
        _one_of("model.spiking.aggregation", self.aggregation, "degree", "attention")
        _one_of("model.spiking.readout", self.readout, "rates", "linear")
        _one_of("model.spiking.text", self.text, "words", "whole")
        ok = self.width is None or self.readout == "linear"
        _check(ok, "model.spiking.width", self.width, "needs model.spiking.readout=linear")
        if self.quantize:
            # Attention has a value of its own for every edge; each would need a rounded matrix of its own.
            mend = "degree is the only one that model.spiking.quantize can train with"
            _check(self.aggregation == "degree", "model.spiking.aggregation", self.aggregation, mend)

    @property
    def spikes(self) -> bool:
        """Whether the neuron spikes."""
        return NEURONS[self.neuron].traits.spikes

    @property
    def rates(self) -> bool:
        """Whether the mean of the neuron's outputs is a firing rate."""
        return NEURONS[self.neuron].traits.rates


@dataclass
class TextConfig(Section):
    """Text encoder."""

    prefix: ClassVar[str] = "model.text."

    encoder: str = "bert"
    """Text encoder (docs/text.md): bert, small and from scratch; minilm, pretrained, from the extra 'minilm';
    spikformer, a spiking transformer with the neurons and steps of model.spiking; or transformers:NAME_OR_FOLDER,
    pretrained."""
    pooling: str | None = "cls"
    """State of a whole text: cls, that of its first token; mean, of all its tokens; last, that of its last token. null:
    as the encoder was trained (MiniLM: mean, CLIP: last, bert and spikformer: cls)."""
    tune: str = "all"
    """Layers of a pretrained encoder that are trained: all; none; or last:K, the last K layers. The output of the
    frozen layers is computed once for each training text, and kept in data.cache."""
    dropout: float | None = number(None, DROPOUT)
    """Dropout inside the tuned layers of a pretrained encoder. null: as it was trained (MiniLM: 0.1)."""
    layers: int = number(2, DEPTH)
    heads: int = number(4, HEADS)
    max_length: int = number(80, Range(8, 512))
    """Largest number of tokens. Longer texts are cut."""
    hidden: int = number(0, Range(0, 65536))
    """Neurons of a hidden layer between the state of a text and its embedding, parallel to the linear map. 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _registered("model.text.encoder", self.encoder, TEXT_ENCODERS)
        if self.pooling is not None:
            _one_of("model.text.pooling", self.pooling, "cls", "mean", "last")
        mend = "choose all, none, or last:K with a number of layers K above 0"
        _check(bool(re.fullmatch(r"all|none|last:[1-9]\d?", self.tune)), "model.text.tune", self.tune, mend)
        mend = f"must be all where model.text.encoder is {self.encoder}, which starts from nothing"
        pretrained = TEXT_ENCODERS[self.encoder].traits.pretrained
        _check(self.tune == "all" or pretrained, "model.text.tune", self.tune, mend)

    @property
    def tuned_layers(self) -> int:
        """K of ``tune=last:K``; 0 for ``all`` and ``none``."""
        return int(self.tune.partition(":")[2] or 0)


@dataclass
class ModelConfig(Section):
    """The model."""

    prefix: ClassVar[str] = "model."

    width: int = number(128, Range(1, 8192))
    """Number C of channels of nodes, spiking layers, text and fusion."""
    dropout: float = number(0.0, DROPOUT)
    hidden_dropout: float = number(0.0, DROPOUT)
    """Dropout of wide hidden layers: the firing rates before model.spiking.readout=linear; model.text.hidden;
    model.pooled_hidden; input and output of graph attention with model.residual=pre; and the gated layer of the answer
    heads with model.evidence=whole."""
    feature_noise: float = number(0.0, Range(0, 100))
    """Standard deviation of the Gaussian noise on visual features in training, in those of each feature. It prevents
    overfitting on a few thousand photographs."""
    category_dropout: float = number(0.3, DROPOUT)
    """Share of the training graphs whose categories are hidden from the model."""
    encoder: str = "hybrid"
    """Image encoder. hybrid: graph attention and spiking path. Baselines: transformer, as in CLIP; spikformer, as in
    SpikeCLIP; pooled, a hidden layer on the features of the whole image, which needs graph.whole_image."""
    pooled_hidden: int = number(2048, Range(1, 65536))
    """Neurons of the hidden layer of model.encoder=pooled."""
    similarity: str = "parts"
    """Similarity of an image and a text. whole: the cosine of their embeddings, as in CLIP. parts: the mean of this and
    of the largest similarity of each token with a segment, as in FILIP. attention: the weighted mean of this and of the
    similarity of the text with the segments that it attends to."""
    part_weight: float = number(0.5, SHARE)
    """Weight of the attended segments in model.similarity=attention."""
    residual: str = "post"
    """Residual connections. post: the node embedding and each GAT layer are residual and end with a LayerNorm, and the
    image embedding is a linear map of V'. pre: V' is a linear map of the visual features, to which the GAT layers and
    the spiking path, which read its LayerNorm, add terms that start at 0; V' of the whole image is the image embedding.
    pre overfits less on few data."""
    evidence: str = "parts"
    """Input of the answer heads and of the matching head. parts: the first token of the text, fused with the nodes, and
    the output of the pointers. whole: the states of the whole text and image, and the elementwise product of their
    embeddings, which pretraining has aligned. whole is for data sets of a few thousand questions, too few to train
    attention."""
    spike_weight: float | None = number(None, Range(0, 1000))
    """Weight of the similarity by spikes, relative to that by V', in retrieval. null: the ratio of the inverse
    temperatures of the two contrastive losses."""
    gat: GATConfig = field(default_factory=GATConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    spiking: SpikingConfig = field(default_factory=SpikingConfig)
    r: float = number(1.0, Range(-1000, 1000))
    """Initial value of r in V' = r E_SNN + F_GAT."""
    learn_r: bool = True
    """Whether r is learned."""
    text: TextConfig = field(default_factory=TextConfig)
    fusion_layers: int = number(2, DEPTH)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("model.encoder", self.encoder, "hybrid", "transformer", "spikformer", "pooled")
        _one_of("model.similarity", self.similarity, "parts", "whole", "attention")
        _one_of("model.evidence", self.evidence, "parts", "whole")
        _one_of("model.residual", self.residual, "post", "pre")
        if "spikformer" in (self.encoder, self.text.encoder):
            _one_of("model.spiking.neuron", self.spiking.neuron, "lif")
        enabled = self.gat.enabled or self.spiking.enabled
        _check(enabled, "model.spiking.enabled", False, "model.gat.enabled is false too; switch one of them on")
        if self.spiking.enabled and not self.gat.enabled:
            _one_of("model.spiking.aggregation", self.spiking.aggregation, "degree")
        for name in ("gat", "transformer", "text"):
            key, heads = f"model.{name}.heads", getattr(self, name).heads
            _check(self.width % heads == 0, "model.width", self.width, f"must be a multiple of {key} ({heads})")


def _losses() -> list[Kind[LossTraits]]:
    """All losses, in the order in which they are computed."""
    return sorted(LOSSES.kinds.values(), key=lambda kind: kind.traits.order)


def _with_losses(cls: type[Section]) -> type[Section]:
    """Add fields to a section: the weight and the options of every registered loss."""
    found: dict[str, Any] = {}
    for kind in _losses():
        name = kind.name
        keys = {name, *kind.traits.options}
        if taken := sorted(key for key in keys if not key.isidentifier() or hasattr(cls, key) or key in found):
            tell(f"{kind.package}: loss '{kind.form}' is left out: objectives has or takes no key '{taken[0]}'")
            del LOSSES.kinds[name]
            continue
        found[name] = number(0.0 if kind.package else float(kind.traits.weight), WEIGHT)
        for key, option in kind.traits.options.items():
            found[key] = number(option["default"], Range(**{k: v for k, v in option.items() if k != "default"}))
    for name, value in found.items():
        setattr(cls, name, value)
    types = {name: type(value.default).__name__ for name, value in found.items()}
    cls.__annotations__ = types | cls.__annotations__
    return cls


@dataclass
@_with_losses
class ObjectiveConfig(Section):
    """Weights of the pretraining losses by name (:data:`gshn.registry.LOSSES`), and their options. A loss of weight 0
    is not computed."""

    prefix: ClassVar[str] = "objectives."

    fusion_stride: int = number(4, SOME)
    """MLM and ITM, which need the fusion transformer, use every k-th image of the batch, with one caption each."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float: ...

    def on(self) -> list[str]:
        """The losses whose weight is not 0, in the order in which they are computed."""
        return [kind.name for kind in _losses() if getattr(self, kind.name)]

    def reads(self, what: str) -> bool:
        """Whether one of these losses reads ``what``: see :class:`gshn.registry.LossTraits`."""
        return any(what in LOSSES[name].traits.reads for name in self.on())


@dataclass
class StageConfig(Section):
    """One stage of training: AdamW, linear warm-up, cosine decay."""

    steps: int = number(0, COUNT)
    batch_size: int = number(128, Range(2, 1e6))
    """Number of images with captions, or of texts of a task, in a batch over all processes."""
    lr: float = number(1e-3, LEARNING_RATE)
    pretrained_lr: float | None = number(None, LEARNING_RATE)
    """Learning rate of pretrained weights (those of the text encoder). null: that of all others, ``lr``."""
    warmup: int = number(50, COUNT)
    """Number of steps in which the learning rate rises linearly from 0."""
    weight_decay: float = number(0.01, SHARE)
    max_grad_norm: float = number(1.0, GRADIENT_NORM)


@dataclass
class PretrainConfig(StageConfig):
    """Pretraining on image-caption pairs."""

    prefix: ClassVar[str] = "pretrain."

    steps: int = number(280, COUNT)
    captions: int = number(1, Range(1, 1000))
    """Number K of captions of each image in a batch, here and in rehearsal: a batch has batch_size images and K times
    as many texts. Where an image has fewer captions, some are repeated."""


@dataclass
class FinetuneConfig(StageConfig):
    """Fine-tuning on tasks. The pretraining losses continue with fewer and smaller batches (rehearsal), so that one
    checkpoint serves retrieval and all tasks."""

    prefix: ClassVar[str] = "finetune."

    tasks: list[str] = field(default_factory=lambda: ["vqa"])
    """Any of vqa, entailment and nlvr2, which take turns step by step. []: no fine-tuning."""
    steps: int = number(400, COUNT)
    rehearsal: int = number(64, Range(0, 1e6))
    """Number of images in a pretraining batch. 0: no rehearsal."""
    rehearsal_every: int = number(4, SOME)
    """Every k-th batch of a task comes with a pretraining batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for task in self.tasks:
            _one_of("finetune.tasks", task, *TASKS)
        _check(len(set(self.tasks)) == len(self.tasks), "finetune.tasks", self.tasks, "name each task once")
        _check(self.rehearsal != 1, "finetune.rehearsal", self.rehearsal, "must be 0 or above 1")


@dataclass(frozen=True)
class SegmenterFit(Section):
    """Training of a small Mask2Former on ShapeScenes (gshn.segment --fit), in three phases.

    1. Backbone and pixel decoder alone learn to classify pixels, on small images. The queries of phase 2 then start
       from features that separate the categories.
    2. The whole network learns segments, on small images.
    3. The whole network learns segments, on images of full size.
    """

    prefix: ClassVar[str] = "segmenter."

    seed: int = number(0, SEED)
    scenes: int = number(20000, SOME)
    """Number of training scenes."""
    small_size: int = number(64, SIDE)
    """Width and height of the small images, pixels."""
    image_size: int = number(96, SIDE)
    """Width and height of the full images, pixels."""
    steps: int = number(4300, SOME)
    shares: tuple[float, float, float] = number((0.21, 0.42, 0.37), SHARE)
    """Shares of the three phases in the steps."""
    batch_size: int = number(16, Range(1, 1e6))
    """Number of scenes in a batch."""
    lr: float = number(2e-3, LEARNING_RATE)
    """Learning rate of phase 1. Phases 2 and 3 have half of it."""
    warmup: int = number(50, SOME)
    """Number of warm-up steps of each phase."""
    thing_weight: float = number(5.0, Range(0, 1000, above=True))
    """Weight of the pixels of things in the pixel loss, relative to those of stuff: things have few pixels."""
    checkpoint_every: int = number(100, SOME)
    """Number of steps between training checkpoints."""


@dataclass
class Config(Section):
    """The configuration of a run."""

    seed: int = number(0, SEED)
    data: DataConfig = field(default_factory=DataConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    precision: str = "auto"
    """Precision of training. float32; bfloat16: matrix products in bfloat16 (automatic mixed precision), spikes, norms
    and losses in float32; auto: bfloat16 on a GPU, float32 on a CPU. CPUs with bfloat16 units train about 1.5 times as
    fast in bfloat16."""
    chunk: int | None = number(None, Range(1, 1e6))
    """Number of images of a process's batch, with their texts, whose activations are in memory together. null: all. The
    step is the same, with a second forward pass in place of the memory, so a batch may be larger than it
    (docs/gpus.md)."""
    init: str | None = None
    """Finished checkpoint to start from (gshn.train --init): a folder, or owner/name on the Hugging Face hub. Words,
    categories and answers of the new data are added. null: random weights."""
    log_every: int = number(10, SOME)
    """Number of steps between lines of metrics.jsonl."""
    log_with: list[str] = field(default_factory=list)
    """Accelerate's trackers that get the same lines: tensorboard, wandb, mlflow and so on. Their libraries must be
    installed."""
    checkpoint_every: int = number(100, SOME)
    """Number of steps between training checkpoints. An interrupted run repeats at most this number of steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("precision", self.precision, "auto", "float32", "bfloat16")
        whole = self.model.encoder != "pooled" or self.graph.whole_image
        _check(whole, "model.encoder", self.model.encoder, "looks at the whole image only: set graph.whole_image=true")
        normed = "spikformer" in (self.model.encoder, self.model.text.encoder)
        _check(self.chunk is None or not normed, "chunk", self.chunk, "spikformer norms over a whole batch: set null")
        discrete = self.model.spiking.enabled or self.model.encoder == "spikformer"
        if (spiking := self.model.spiking).enabled:
            has = {"spikes": spiking.spikes, "rates": spiking.rates}
            for name in self.objectives.on():
                weight, needs = getattr(self.objectives, name), LOSSES[name].traits.needs
                mend = f"must be 0 where model.spiking.neuron is {spiking.neuron}: there are no spikes"
                _check(has.get(needs, True), f"objectives.{name}", weight, mend)
        if self.pretrain.steps or (self.finetune.tasks and self.finetune.steps and self.finetune.rehearsal):
            names = [kind.name for kind in _losses() if discrete or not kind.traits.needs]
            mend = f"one of {', '.join(names)} must be above 0, or nothing is learned of pairs"
            _check(bool(set(names) & set(self.objectives.on())), "objectives.itc", self.objectives.itc, mend)


def named_configs() -> list[str]:
    """Names of the configs that ship with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def load_config(name_or_file: str | Path = "default", overrides: Sequence[str] = ()) -> Config:
    """Read a named config or a YAML file, and apply overrides.

    Where ``data.pairs.source`` is shards, what they were made with takes the place of the defaults, those of a named
    config too, so that the configuration says what the graphs are.

    Args:
        name_or_file: One of :func:`named_configs`, or a path.
        overrides: ``key=value`` with dotted keys, e.g. ``model.spiking.steps=16``. A text is taken as it is; other
            values are YAML.

    Raises:
        ConfigError: no such config, unknown key, or a value of the wrong type or out of bounds.
    """
    path = CONFIGS / f"{name_or_file}.yaml"
    named = path.is_file()
    if not named:
        path = Path(name_or_file)
    if not path.is_file():
        raise ConfigError(f"config '{name_or_file}' is neither a file nor one of {', '.join(named_configs())}")
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"override '{override}' is not of the form key=value, e.g. pretrain.steps=500")
    source = str(path)
    try:
        defaults, loaded = OmegaConf.structured(Config), OmegaConf.load(path)
        config = OmegaConf.merge(defaults, loaded)
        source = "the command line"
        given = _from_command_line(overrides)
        config = OmegaConf.merge(config, given)
        if told := settings_of_shards(config.data.pairs.source):
            settings = OmegaConf.create()
            for setting, value in told.items():
                OmegaConf.update(settings, setting, literal(value))
            layers = (loaded, settings, given) if named else (settings, loaded, given)
            config = OmegaConf.merge(defaults, *layers)
        result = OmegaConf.to_object(config)
    except ConfigError:
        raise
    except Exception as error:  # YAML syntax, say: the parser's error classes are OmegaConf's affair
        reason = (str(error).splitlines() or [""])[0]
        if key := getattr(error, "full_key", None):
            raise ConfigError(
                f"config key '{key}' (from {source}): {reason}; config.yaml of any run lists all keys"
            ) from None
        if source != str(path):
            wrong = next((text for text in overrides if not _can_be_read(text)), " ".join(overrides))
            raise ConfigError(f"override '{wrong}' cannot be read: {reason}") from None
        raise ConfigError(f"config {path} cannot be read: {reason}") from None
    assert isinstance(result, Config)
    return result


def _from_command_line(overrides: Sequence[str]) -> DictConfig:
    """Overrides by key. YAML and OmegaConf's interpolation mean nothing in a text: a path may hold any character."""
    texts = {}
    for override in overrides:
        key, _, value = override.partition("=")
        kind: Any = Config
        for part in key.split("."):
            kind = get_type_hints(kind).get(part) if is_dataclass(kind) else None
        if value and (kind is str or (kind == str | None and value != "null")):
            texts[key] = value
    given = OmegaConf.from_dotlist([override for override in overrides if override.partition("=")[0] not in texts])
    for key, value in texts.items():
        OmegaConf.update(given, key, literal(value))
    return given


def literal(value: Any) -> Any:
    """A value for OmegaConf in which ``${`` is no interpolation, as its grammar escapes it."""
    if isinstance(value, dict):
        return {key: literal(entry) for key, entry in value.items()}
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + "\\${", value) if isinstance(value, str) else value


LATER_SETTINGS: dict[str, Any] = {
    "graph.levels": None,
    "graph.pooling": "cells",
    "graph.whole_image": False,
    "graph.precision": "float32",
    "graph.mirror": False,
    "graph.tune": "none",
}
"""What shards from before these keys were there do not tell, and were made with."""


def settings_of_shards(source: str) -> dict[str, Any]:
    """What the graphs of a source ``shards:DIR`` were made with, by key of the configuration; else nothing.

    All graphs count, unless somebody says another number.
    """
    kind, _, folder = source.partition(":")
    for split in ("train", "test", "val"):
        manifest = Path(folder) / split / "manifest.json"
        if kind == "shards" and manifest.is_file():
            try:
                return {
                    "data.pairs.train": None,
                    "data.pairs.test": None,
                    **LATER_SETTINGS,
                    **json.loads(manifest.read_text())["settings"],
                }
            except (OSError, ValueError, KeyError, TypeError):
                return {}  # Whoever reads the shards names the file.
    return {}


def _can_be_read(override: str) -> bool:
    """Whether an override alone makes a configuration, or an error that names its key."""
    try:
        OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), _from_command_line([override])))
    except ConfigError:
        return True
    except Exception as error:  # see load_config
        return bool(getattr(error, "full_key", None))
    return True


def to_yaml(config: Config) -> str:
    """The whole configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(asdict(config))))


def differences(a: Config, b: Config) -> list[str]:
    """Dotted keys in which two configurations differ, with both values."""
    left, right = flat(a), flat(b)
    return [f"{key} ({left[key]!r} and {right[key]!r})" for key in left if left[key] != right[key]]


def flat(config: Config) -> dict[str, object]:
    """Every value by its dotted key."""

    def entries(node: object, prefix: str = "") -> dict[str, object]:
        if not isinstance(node, dict):
            return {prefix: node}
        return {k: v for key, value in node.items() for k, v in entries(value, f"{prefix}.{key}".lstrip(".")).items()}

    return entries(asdict(config))
