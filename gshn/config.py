"""Configuration: one dataclass per stage, read from YAML and ``key=value`` overrides by OmegaConf, validated once.

The defaults of the dataclasses are the config ``default``; the files in ``gshn/configs`` name what they change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gshn.errors import ConfigError

CONFIGS = Path(__file__).parent / "configs"


def _check(condition: bool, key: str, value: object, mend: str) -> None:
    if not condition:
        raise ConfigError(f"config key '{key}' is {value!r}: {mend}")


def _one_of(key: str, value: str, *choices: str) -> None:
    _check(value in choices, key, value, f"choose one of {', '.join(choices)}")


SEGMENTERS = ("ground-truth", "mask2former", "detectron2", "superpixels")
TASKS = ("vqa", "entailment", "nlvr2")
"""What is fine-tuned on, besides retrieval: see :mod:`gshn.data.tasks`."""
SCENES = ("shapescenes", "shapescenes-compositions")
"""Sources that are drawn, and have no end."""


def _check_images(key: str, data: PairData | TaskData) -> None:
    _one_of(f"{key}.segmenter", data.segmenter, *SEGMENTERS)
    for name in ("train", "test"):
        value = getattr(data, name)
        _check(value is None or value >= 1, f"{key}.{name}", value, "must be null or at least 1")
    _check(data.image_size >= 48, f"{key}.image_size", data.image_size, "must be at least 48")
    counted = data.source not in SCENES or (data.train is not None and data.test is not None)
    _check(counted, f"{key}.train", None, "ShapeScenes needs numbers of scenes, for train and test")
    learned = data.segmenter in ("mask2former", "detectron2")
    _check(not learned or bool(data.weights), f"{key}.weights", data.weights, f"{data.segmenter} needs weights")


@dataclass
class CaptionFile:
    """How the file of data.pairs.source=captions:FILE is read: a table (CSV, TSV), or JSON lines."""

    folder: str | None = None
    """Folder that the images' paths start from; null: the file's own."""
    image_column: str | None = None
    """Column of the images' paths; null: found by the usual names."""
    caption_column: str | None = None
    """Column of the captions; null: found by the usual names."""
    split: str | None = None
    """A column that says train, val or test; or shares of the images, in percent, such as 80/10/10. null: the column
    split where there is one, else 80/10/10."""

    def __post_init__(self) -> None:
        if (shares := self.shares) is not None:
            mend = "give percent of train, val and test that sum to 100, as in 80/10/10"
            _check(abs(sum(shares) - 1) < 1e-9, "data.pairs.file.split", self.split, mend)

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """Of train, val and test; None where :attr:`split` is a column, or null."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)", self.split or "")
        if match is None:
            return None
        train, val, test = (float(part) / 100 for part in match.groups())
        return train, val, test


@dataclass
class PairData:
    """Images with captions, for pretraining and retrieval."""

    source: str = "shapescenes"
    """shapescenes; shapescenes-compositions, which holds combinations out (docs/tasks.md); coco:DIR, flickr30k:DIR,
    flickr8k:DIR or visual-genome:DIR in their official layouts; captions:FILE, photographs of one's own (docs/data.md);
    or shards:DIR as gshn.preprocess wrote them."""
    file: CaptionFile = field(default_factory=CaptionFile)
    """How the FILE of captions:FILE is read."""
    train: int | None = 6000
    """Images to train on, the first; all where null (not of ShapeScenes, which has no end)."""
    test: int | None = 1000
    """Held-out images that retrieval is evaluated on."""
    image_size: int = 96
    """Pixels: width and height of ShapeScenes, longer side of photographs, which are scaled down to it."""
    segmenter: str = "ground-truth"
    """ground-truth, mask2former, detectron2 or superpixels; shards have theirs already."""
    weights: str | None = None
    """Weights of a learned segmenter: a folder, or a name on the hub."""
    caption_weights: list[float] = field(default_factory=lambda: [6.0, 1.0, 1.0, 1.0, 1.0])
    """How often each of ShapeScenes' captions is trained on, from the most detailed to the vaguest; captions of other
    sources count alike."""

    def __post_init__(self) -> None:
        _check_images("data.pairs", self)
        ok = len(self.caption_weights) == 5 and min(self.caption_weights) >= 0 and sum(self.caption_weights) > 0
        _check(ok, "data.pairs.caption_weights", self.caption_weights, "give 5 weights >= 0, one of them > 0")


@dataclass
class TaskData:
    """Images with the texts of a task, for fine-tuning."""

    source: str
    """shapescenes or shapescenes-compositions; or the task's data set in its official layout."""
    train: int | None = None
    """Images to train on, with all their texts; all where null (not of ShapeScenes, which has no end)."""
    test: int | None = None
    """Images to test on."""
    image_size: int = 224
    """As in data.pairs."""
    segmenter: str = "superpixels"
    """As in data.pairs; easy-VQA has no ground truth."""
    weights: str | None = None
    """As in data.pairs."""


@dataclass
class QuestionData(TaskData):
    """Images with questions: the task vqa."""

    source: str = "easyvqa"
    """easyvqa, shapescenes, shapescenes-compositions or vqa2:DIR."""
    answers: int = 3129
    """Size of the answer vocabulary, the most frequent answers of the training questions."""

    def __post_init__(self) -> None:
        _check_images("data.questions", self)
        _check(self.answers >= 2, "data.questions.answers", self.answers, "must be at least 2")


@dataclass
class HypothesisData(TaskData):
    """Images with hypotheses: the task entailment."""

    source: str = "snli-ve:data/snli-ve"
    """snli-ve:DIR, shapescenes or shapescenes-compositions."""

    def __post_init__(self) -> None:
        _check_images("data.hypotheses", self)


@dataclass
class StatementData(TaskData):
    """Pairs of images with statements: the task nlvr2."""

    source: str = "nlvr2:data/nlvr2"
    """nlvr2:DIR, shapescenes or shapescenes-compositions."""

    def __post_init__(self) -> None:
        _check_images("data.statements", self)


@dataclass
class DataConfig:
    """What is read, and where computed graphs are kept."""

    pairs: PairData = field(default_factory=PairData)
    questions: QuestionData = field(default_factory=QuestionData)
    hypotheses: HypothesisData = field(default_factory=HypothesisData)
    statements: StatementData = field(default_factory=StatementData)
    show: str = "both"
    """both; texts: every image is replaced by one and the same; images: every text is empty. The last two show what can
    be had without looking, or without reading."""
    allow_overlap: bool = False
    """Whether pictures may stand in training and in test data; if not, a run refuses to start."""
    upright: bool = True
    """Photographs, and their annotated segments with them, are turned as EXIF's orientation says; false: pixels are as
    stored."""
    cache: str = "cache"
    """Folder of computed scene graphs; safe to delete."""

    def __post_init__(self) -> None:
        _one_of("data.show", self.show, "both", "texts", "images")


@dataclass
class GraphConfig:
    """Segments -> scene graph."""

    backbone: str = "efficientnet_lite0"
    """efficientnet_lite0 (frozen, ImageNet weights) or small_conv (trained with the model)."""
    neighbours: int = 4
    """Edges to this many nearest centroids, besides those between touching segments."""
    max_segments: int = 64
    """The largest segments are kept."""
    regions: str = "masks"
    """What a node stands for. masks: a segment's pixels; boxes: all pixels of a segment's box; patches: a cell of a
    grid, whatever the segmenter. The last two are what the paper argues against."""
    patches: int = 6
    """Patches along each side of the image."""

    def __post_init__(self) -> None:
        _one_of("graph.backbone", self.backbone, "efficientnet_lite0", "small_conv")
        _one_of("graph.regions", self.regions, "masks", "boxes", "patches")
        _check(self.patches >= 1, "graph.patches", self.patches, "must be at least 1")
        _check(self.neighbours >= 0, "graph.neighbours", self.neighbours, "must be at least 0")
        _check(self.max_segments >= 1, "graph.max_segments", self.max_segments, "must be at least 1")


@dataclass
class GATConfig:
    """Continuous path, F_GAT."""

    enabled: bool = True
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        _check(self.layers >= 1, "model.gat.layers", self.layers, "must be at least 1")
        _check(self.heads >= 1, "model.gat.heads", self.heads, "must be at least 1")


@dataclass
class TransformerConfig:
    """A transformer, plain or spiking, in place of the hybrid encoder."""

    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        _check(self.layers >= 1, "model.transformer.layers", self.layers, "must be at least 1")
        _check(self.heads >= 1, "model.transformer.heads", self.heads, "must be at least 1")


@dataclass
class SpikingConfig:
    """Discrete path, E_SNN."""

    enabled: bool = True
    neuron: str = "lif"
    """lif; or relu: the twin without spikes, max(0, current) in one step, that spiking is compared with."""
    layers: int = 2
    steps: int = 8
    """T, number of time steps."""
    dt: float = 1e-4
    """Time step, seconds. snnTorch's NIR importer assumes this value."""
    tau: float = 2e-4
    """Membrane time constant, seconds."""
    v_threshold: float = 1.0
    surrogate: str = "atan"
    """atan, fast_sigmoid or sigmoid, of snntorch.surrogate."""
    slope: float = 5.0
    """Steepness of the surrogate."""
    aggregation: str = "degree"
    """degree: A = w I + (1 - w) D^-1 Adj; attention: the last GAT layer's attention, mean over its heads."""
    self_weight: float = 0.9
    """w of the degree-normalised aggregation."""
    quantize: bool = False
    """Train with synapses rounded as for 8-bit weights (docs/lava.md); needs lava-dl. Evaluation stays in float."""

    def __post_init__(self) -> None:
        _check(self.layers >= 1, "model.spiking.layers", self.layers, "must be at least 1")
        _one_of("model.spiking.neuron", self.neuron, "lif", "relu")
        if self.neuron == "lif":
            _check(self.steps >= 2, "model.spiking.steps", self.steps, "must be at least 2")
        else:
            _check(self.steps == 1, "model.spiking.steps", self.steps, "must be 1 where model.spiking.neuron is relu")
            _check(not self.quantize, "model.spiking.quantize", self.quantize, "needs model.spiking.neuron=lif")
        _check(0 < self.dt <= self.tau, "model.spiking.dt", self.dt, "needs 0 < dt <= tau")
        _check(self.v_threshold > 0, "model.spiking.v_threshold", self.v_threshold, "must be above 0")
        _one_of("model.spiking.surrogate", self.surrogate, "atan", "fast_sigmoid", "sigmoid")
        _one_of("model.spiking.aggregation", self.aggregation, "degree", "attention")
        _check(0 <= self.self_weight <= 1, "model.spiking.self_weight", self.self_weight, "must lie in [0, 1]")
        if self.quantize:
            # Attention has a value of its own for every edge; each would need a rounded matrix of its own.
            mend = "degree is the only one that model.spiking.quantize can train with"
            _check(self.aggregation == "degree", "model.spiking.aggregation", self.aggregation, mend)


@dataclass
class TextConfig:
    """Text encoder."""

    encoder: str = "bert"
    """bert (a small one, from scratch), minilm (pretrained; its package is the extra 'minilm') or spikformer (a spiking
    transformer with the neurons and steps of model.spiking)."""
    layers: int = 2
    heads: int = 4
    max_length: int = 80
    """Tokens; longer texts are cut."""

    def __post_init__(self) -> None:
        _one_of("model.text.encoder", self.encoder, "bert", "minilm", "spikformer")
        _check(self.layers >= 1, "model.text.layers", self.layers, "must be at least 1")
        _check(self.max_length >= 8, "model.text.max_length", self.max_length, "must be at least 8")


@dataclass
class ModelConfig:
    """GSHN."""

    width: int = 128
    """Channels of node tokens, spiking layers, text and fusion."""
    dropout: float = 0.0
    category_dropout: float = 0.3
    """Share of the training graphs whose segments' categories are hidden from the model."""
    encoder: str = "hybrid"
    """hybrid: GAT and spiking path; as baselines transformer: what CLIP has, and spikformer: what SpikeCLIP has."""
    similarity: str = "parts"
    """Of an image and a text. parts: of the wholes, and of each token with the segment that meets it best; whole: of
    the wholes only, as in CLIP."""
    gat: GATConfig = field(default_factory=GATConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    spiking: SpikingConfig = field(default_factory=SpikingConfig)
    r: float = 1.0
    """r of V' = r E_SNN + F_GAT at the start."""
    learn_r: bool = True
    """Whether r is learned, or stays as it is."""
    text: TextConfig = field(default_factory=TextConfig)
    fusion_layers: int = 2

    def __post_init__(self) -> None:
        _one_of("model.encoder", self.encoder, "hybrid", "transformer", "spikformer")
        _one_of("model.similarity", self.similarity, "parts", "whole")
        if "spikformer" in (self.encoder, self.text.encoder):
            _one_of("model.spiking.neuron", self.spiking.neuron, "lif")
        enabled = self.gat.enabled or self.spiking.enabled
        _check(enabled, "model.spiking.enabled", False, "model.gat.enabled is false too; switch one of them on")
        if self.spiking.enabled and not self.gat.enabled:
            _one_of("model.spiking.aggregation", self.spiking.aggregation, "degree")
        for name in ("gat", "transformer", "text"):
            key, heads = f"model.{name}.heads", getattr(self, name).heads
            _check(self.width % heads == 0, "model.width", self.width, f"must be a multiple of {key} ({heads})")
        for name in ("dropout", "category_dropout"):
            _check(0 <= getattr(self, name) < 1, f"model.{name}", getattr(self, name), "must lie in [0, 1)")
        _check(self.fusion_layers >= 1, "model.fusion_layers", self.fusion_layers, "must be at least 1")


@dataclass
class ObjectiveConfig:
    """Weights of the pretraining losses; 0 switches one off, and its computation."""

    itc: float = 1.0
    """Image-text contrast."""
    spike_contrast: float = 0.1
    """Segment-level contrast of the spike code between the two halves of the time window."""
    stl_contrast: float = 1.0
    """Spiked text learning: contrast of image and text as spikes, which retrieval ranks by, too."""
    stl_words: float = 0.2
    """Spiked text learning: the segment spike code predicts the caption's words."""
    mlm: float = 0.2
    """Masked language modelling."""
    itm: float = 1.0
    """Image-text matching with hard negatives."""
    firing_rate: float = 1.0
    """Penalty on mean firing rates above ``firing_rate_target``."""
    firing_rate_target: float = 0.1
    """Spikes per neuron and step."""
    fusion_stride: int = 4
    """MLM and ITM, which need the fusion transformer, look at every k-th pair of the batch."""

    def __post_init__(self) -> None:
        for name in ("itc", "spike_contrast", "stl_contrast", "stl_words", "mlm", "itm", "firing_rate"):
            _check(getattr(self, name) >= 0, f"objectives.{name}", getattr(self, name), "must be at least 0")
        rate = self.firing_rate_target
        _check(0 < rate < 1, "objectives.firing_rate_target", rate, "must lie in (0, 1)")
        _check(self.fusion_stride >= 1, "objectives.fusion_stride", self.fusion_stride, "must be at least 1")


@dataclass
class StageConfig:
    """One stage of training: AdamW, linear warm-up, cosine decay."""

    steps: int = 0
    batch_size: int = 128
    """Pairs over all processes."""
    lr: float = 1e-3
    pretrained_lr: float | None = None
    """Of weights that were trained before (MiniLM's), which are only tuned; null: ``lr``, as the rest."""
    warmup: int = 50
    """Steps."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        _check(self.steps >= 0, "steps", self.steps, "must be at least 0")
        _check(self.batch_size >= 2, "batch_size", self.batch_size, "must be at least 2")
        _check(self.lr > 0, "lr", self.lr, "must be above 0")
        tuned = self.pretrained_lr
        _check(tuned is None or tuned > 0, "pretrained_lr", tuned, "must be above 0")


@dataclass
class PretrainConfig(StageConfig):
    """Pretraining on image-caption pairs."""

    steps: int = 280


@dataclass
class FinetuneConfig(StageConfig):
    """Fine-tuning on tasks, while the pretraining objectives go on with fewer and smaller batches (rehearsal), so that
    one checkpoint serves retrieval and all tasks."""

    tasks: list[str] = field(default_factory=lambda: ["vqa"])
    """vqa, entailment, nlvr2: steps go round them; [] ends with pretraining."""
    steps: int = 400
    rehearsal: int = 64
    """Pairs of the pretraining batch that goes with a question batch; 0 switches rehearsal off."""
    rehearsal_every: int = 4
    """Task batches with a pretraining batch: every k-th."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for task in self.tasks:
            _one_of("finetune.tasks", task, *TASKS)
        _check(len(set(self.tasks)) == len(self.tasks), "finetune.tasks", self.tasks, "name each task once")
        _check(self.rehearsal >= 0 and self.rehearsal != 1, "finetune.rehearsal", self.rehearsal, "must be 0 or > 1")
        _check(self.rehearsal_every >= 1, "finetune.rehearsal_every", self.rehearsal_every, "must be at least 1")


@dataclass(frozen=True)
class SegmenterFit:
    """Training of a small Mask2Former on ShapeScenes (gshn.segment --fit), in three phases.

    1. The backbone and the pixel decoder alone learn to tell every pixel's category, on small images: a query that
       looks for a star finds features that know what a star is.
    2. All of it learns segments, on small images.
    3. The same on images of full size.
    """

    seed: int = 0
    scenes: int = 20000
    """Number of training scenes."""
    small_size: int = 64
    """Width and height of the small images, pixels."""
    image_size: int = 96
    """Width and height of the full images, pixels."""
    steps: int = 4300
    shares: tuple[float, float, float] = (0.21, 0.42, 0.37)
    """Of the phases in the steps."""
    batch_size: int = 16
    """Scenes."""
    lr: float = 2e-3
    """Of phase 1; the others have half of it."""
    warmup: int = 50
    """Steps of each phase."""
    thing_weight: float = 5.0
    """Of the pixels of things among all pixels: they are few."""
    checkpoint_every: int = 100
    """Steps between training states."""

    def __post_init__(self) -> None:
        for name in ("scenes", "steps", "batch_size", "warmup", "checkpoint_every"):
            _check(getattr(self, name) >= 1, f"segmenter.{name}", getattr(self, name), "must be at least 1")
        for name in ("small_size", "image_size"):
            _check(getattr(self, name) >= 48, f"segmenter.{name}", getattr(self, name), "must be at least 48")
        _check(self.lr > 0, "segmenter.lr", self.lr, "must be above 0")


@dataclass
class Config:
    """Everything that a run depends on."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    graph: GraphConfig = field(default_factory=GraphConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 100
    """Steps between training checkpoints: what a kill can cost at most."""

    def __post_init__(self) -> None:
        if self.model.spiking.enabled and self.model.spiking.neuron == "relu":
            for name in ("spike_contrast", "firing_rate"):
                mend = "must be 0 where model.spiking.neuron is relu: there are no spikes"
                _check(getattr(self.objectives, name) == 0, f"objectives.{name}", getattr(self.objectives, name), mend)
        _check(self.log_every >= 1, "log_every", self.log_every, "must be at least 1")
        _check(self.checkpoint_every >= 1, "checkpoint_every", self.checkpoint_every, "must be at least 1")


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
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"config key '{key}' (from {source}): {reason}; config.yaml of any run lists all keys"
        ) from None
    except Exception as error:  # YAML syntax: the parser's error classes are OmegaConf's affair
        raise ConfigError(f"config {path} cannot be read: {error}") from None
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
                    **json.loads(manifest.read_text())["settings"],
                }
            except (OSError, ValueError, KeyError, TypeError):
                return {}  # Whoever reads the shards names the file.
    return {}


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
