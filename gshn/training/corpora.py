"""The corpora that a configuration names, as cached scene graphs with texts, and the model that fits them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gshn.backbones.base import Backbone
from gshn.backbones.choose import make_backbone
from gshn.config import LATER_SETTINGS, Config, HypothesisData, PairData, TaskData, flat, is_drawn
from gshn.data.image_files import ImageNames
from gshn.data.images import ImageCollection, ImageSample
from gshn.data.overlap import Pictures, check_overlap
from gshn.data.sources import open_source
from gshn.data.tasks import TASKS, Example, Task, TaskText
from gshn.data.vqa2 import answer_vocabulary, compared
from gshn.data.wordnet import WordNet, find_wordnet
from gshn.encoders.text import TextCount
from gshn.errors import ConfigError, DataError, tell
from gshn.graphs.build import build_graphs, segmented
from gshn.graphs.dataset import GraphDataset
from gshn.graphs.scene_graph import GraphParameters, SceneGraph
from gshn.graphs.shards.files import StoredGraph, stored_tensors, to_dataset
from gshn.graphs.shards.index import Index, cached, load_all, read_index
from gshn.graphs.shards.stream import ShardStream, StreamedGraphs
from gshn.graphs.shards.write import Recipe
from gshn.model import GSHN, Vocabulary
from gshn.segments.choose import make_segmenter
from gshn.segments.grid import GridSegmenter
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, Segmenter
from gshn.segments.superpixels import REGION, SuperpixelSegmenter
from gshn.training.batches import PairCorpus, StreamedPairs, TaskCorpus
from gshn.training.start import take_over, tokenizer_of
from neuromorphic.errors import counted

STREAMED = 2**30
"""Bytes of a task's cached graphs: more are read as they are needed, and not held in memory."""

IMAGES_READ = 256
"""Images whose captions are cut into tokens together: a call for each takes several times as long."""


class Corpora:
    """Training and test corpora; graphs are built, or read from the cache, when a corpus is first asked for."""

    def __init__(self, config: Config, vocabulary: Vocabulary | None = None):
        """Set up for a configuration.

        Args:
            config: The configuration.
            vocabulary: Vocabulary of the model that is evaluated; None to build a new model.
        """
        self.config, self.vocabulary = config, vocabulary

    @cached_property
    def categories(self) -> list[str]:
        """Names of the node categories: the model's, or for a new model those of all data sets, each once, in order."""
        if self.vocabulary is not None:
            return self.vocabulary.categories
        found = [self._pair_categories, self.graph_parameters.categories(SuperpixelSegmenter.categories)]
        for task in self.config.finetune.tasks:
            found.append(self._segmenter_for(self._task_data(TASKS[task])).categories)
        return list(dict.fromkeys(category.name for categories in found for category in categories))

    @cached_property
    def pairs(self) -> PairCorpus:
        """Training images with captions."""
        if self._shards is None:
            return self._pairs("train", self.config.data.pairs.train)
        index = self._index("train")
        return StreamedPairs(ShardStream(index), self._positions(index.categories))

    @cached_property
    def test_pairs(self) -> PairCorpus:
        """Held-out images with captions, of the split ``test``."""
        return self.test_pairs_of("test")

    def test_pairs_of(self, split: str) -> PairCorpus:
        """Held-out images with captions, of a split, or of several together: ``train+val``.

        Raises:
            ConfigError: there is no such split.
        """
        pictures = [name for part in self.test_pictures(["retrieval"], split) for name in part.names]
        if "+" in split and len(set(pictures)) < len(pictures):
            raise ConfigError(f"split {split}: these splits of {self.config.data.pairs.source} share images; name one")
        parts = [self._test_pairs_of(name) for name in split.split("+")]
        if len(parts) == 1:
            return parts[0]
        graphs = GraphDataset.join([part.graphs for part in parts])
        captions = [own for part in parts for own in part.captions()]
        names = [name for part in parts for name in part.names]
        return PairCorpus(graphs, captions, names, all(part.by_level for part in parts))

    def _test_pairs_of(self, split: str) -> PairCorpus:
        if self._shards is None:
            return self._pairs(split, self.config.data.pairs.test)
        index = self._index(split)
        graphs, stored = load_all(index)
        captions, names = ([annotation[key] for annotation in stored] for key in ("captions", "name"))
        graphs = graphs.with_categories(self._positions(index.categories))
        return PairCorpus(graphs, captions, names, self._are_scenes(split))

    def check_test(self) -> None:
        """Check at the start of a run that its test data exist.

        Raises:
            UserError: they do not.
        """
        if self._shards is not None:
            self._index("test")
        else:
            self._captioned("test", self.config.data.pairs.test)
        for task in map(TASKS.__getitem__, self.config.finetune.tasks):
            self.task_images(task.name, "test", self._task_data(task).test)

    @cache  # noqa: B019 (corpora live as long as the run)
    def texts(self, task: str) -> TaskCorpus:
        """Training images with the texts of a task."""
        return self._texts(TASKS[task], "train", self._task_data(TASKS[task]).train)

    @cache  # noqa: B019
    def test_texts(self, task: str, split: str = "test") -> TaskCorpus:
        """Held-out images with the texts of a task.

        Raises:
            ConfigError: there is no such split, or it has no such texts.
        """
        return self._texts(TASKS[task], split, self._task_data(TASKS[task]).test)

    @cached_property
    def answers(self) -> dict[str, list[str]]:
        """All answers of each task that is trained."""
        return {task: self._answers(TASKS[task]) for task in self.config.finetune.tasks}

    def task_images(self, task: str, split: str, limit: int | None) -> ImageCollection:
        """The first images of a split of a task's source, with its texts.

        Raises:
            ConfigError: there is no such split, or it has no such texts.
        """
        data, texts = self._task_data(TASKS[task]), TASKS[task].texts
        images: ImageCollection = self._open(data, split, limit)
        if not hasattr(images, texts):
            raise ConfigError(f"data.{texts}.source is {data.source}, which has no {texts}; use {TASKS[task].example}")
        if not getattr(images, texts):
            raise self._no_texts(TASKS[task], split, len(images))
        if getattr(images, "answer_lists", False):
            _ = self._wordnet  # Now: its figures come at the end.
        return images

    @cached_property
    def _wordnet(self) -> WordNet | None:
        return find_wordnet(self.config.data.questions.wordnet)

    def task_texts(self, task: str, split: str) -> Sequence[TaskText]:
        """Held-out texts of a task, without their graphs; see :meth:`test_texts`."""
        images = self.task_images(task, split, self._task_data(TASKS[task]).test)
        texts: Sequence[TaskText] = getattr(images, TASKS[task].texts)
        return texts

    def _answers(self, task: Task) -> list[str]:
        if task.answers is not None:
            return list(task.answers)
        corpus, size = self.texts(task.name), self.config.data.questions.answers
        if corpus.answers is not None:
            return list(corpus.answers)
        examples = corpus.examples
        answers = answer_vocabulary(examples, size)
        if not answers:
            raise ConfigError(
                f"{self._task_data(task).source}: no training question has an answer; there is none to learn"
            )
        known = set(answers)
        if unknown := sum(known.isdisjoint(compared(example.answers)) for example in examples):
            of = f"of {counted(len(examples), 'training question')}"
            lack = counted(unknown, f"{of} has", f"{of} have")
            tell(
                f"data.questions: {lack} no answer among the {len(answers)} of the vocabulary "
                "(data.questions.answers), and no weight"
            )
        return answers

    @cached_property
    def caption_weights(self) -> list[float] | None:
        """Relative frequency in training of each caption of an image; None: all are equally frequent."""
        return self.config.data.pairs.caption_weights if self._are_scenes("train") else None

    def _are_scenes(self, split: str) -> bool:
        if self._shards is not None:
            return str(self._index(split).manifest["collection"]).startswith("shapescenes")
        return is_drawn(self.config.data.pairs.source)

    def training_texts(self) -> Iterator[str]:
        """All captions, questions and other texts of the training data."""
        for captions in self.pairs.captions():
            yield from captions
        for task in self.config.finetune.tasks:
            yield from (example.text for example in self.texts(task).examples)

    def images(self, split: str, limit: int | None) -> ImageCollection:
        """The first images of a split of ``data.pairs.source``.

        Raises:
            ConfigError: the source is shards, which have no images.
        """
        if self._shards is not None:
            raise ConfigError(
                f"data.pairs.source is {self.config.data.pairs.source}: shards hold graphs, and no images"
            )
        return self._open(self.config.data.pairs, split, limit)

    def _open(self, data: PairData | TaskData, split: str, limit: int | None) -> Any:
        form = data.file if isinstance(data, PairData) else None
        own = data.images if isinstance(data, HypothesisData) else None
        photographs = None if own is None else Path(own)
        return open_source(data.source, split, data.image_size, limit, self.config.data.upright, form, photographs)

    @cached_property
    def _leave_out(self) -> ImageNames | None:
        """Images that are left out of the training data of all sources (``data.pairs.leave_out``)."""
        path = self.config.data.pairs.leave_out
        return None if path is None else ImageNames.read(Path(path))

    def training_pictures(self) -> list[Pictures]:
        """Picture files of all training sources."""
        pairs, tasks = self.config.data.pairs, self.config.finetune.tasks
        found = [self._pictures("pairs", pairs, "train", pairs.train)]
        for task in tasks:
            data = self._task_data(TASKS[task])
            found.append(self._pictures(TASKS[task].texts, data, "train", data.train))
        if self._leave_out is not None:
            kept = set(self._leave_out.others([name for pictures in found for name in pictures.names]))
            found = [Pictures(p.label, [name for name in p.names if name in kept]) for p in found]
        return found

    def test_pictures(self, tasks: Sequence[str], split: str = "test") -> list[Pictures]:
        """Picture files of the test sources of some tasks; ``retrieval`` stands for the pairs."""
        found = []
        for task in tasks:
            texts = "pairs" if task == "retrieval" else TASKS[task].texts
            data = getattr(self.config.data, texts)
            found += [self._pictures(texts, data, name, data.test) for name in split.split("+")]
        return found

    def check_overlap(self) -> None:
        """See :func:`gshn.data.overlap.check_overlap`."""
        test = self.test_pictures(["retrieval", *self.config.finetune.tasks])
        check_overlap(self.training_pictures(), test, self.config.data.allow_overlap)

    def _pictures(self, texts: str, data: PairData | TaskData, split: str, limit: int | None) -> Pictures:
        label = f"data.{texts} ({data.source}, {split})"
        kind = data.source.partition(":")[0]
        if (kind == "shards" and self._are_scenes(split)) or is_drawn(data.source):
            return Pictures(label, [])  # No two scenes of different splits are the same, and none is a file.
        if kind == "shards":
            return Pictures(label, self._index(split).names)
        images = self._open(data, split, limit)
        return Pictures(label, [str(path) for path in getattr(images, "paths", [])])

    def _task_data(self, task: Task) -> TaskData:
        data: TaskData = getattr(self.config.data, task.texts)
        return data

    def graphs_of(
        self, samples: Sequence[ImageSample], segmenter: Segmenter
    ) -> tuple[list[SceneGraph], list[ImageSample]]:
        """Build the scene graphs of some images, without the cache; also return the images with their segments.

        Raises:
            DataError: an image cannot be segmented, or gives no graph. The message names it.
        """
        found = segmented(samples, segmenter)
        built = build_graphs(found, GroundTruthSegmenter(segmenter.categories), self.backbone, self.graph_parameters)
        positions = self._positions(self.graph_parameters.categories(segmenter.categories))
        # One at a time: images that a trained backbone is to see may differ in size.
        graphs = [to_dataset([StoredGraph({}, stored_tensors(graph))]).with_categories(positions)[0] for graph in built]
        return graphs, found

    def segmenter_of(self, images: ImageCollection) -> Segmenter:
        """The segmenter of ``data.pairs``."""
        return self.segmenter(self.config.data.pairs, images.categories)

    @property
    def _shards(self) -> Path | None:
        kind, _, folder = self.config.data.pairs.source.partition(":")
        return Path(folder) if kind == "shards" else None

    @cache  # noqa: B019
    def _index(self, split: str) -> Index:
        """A split of the shards that ``data.pairs.source`` names.

        Raises:
            DataError: there is none, or it has no captions.
            ConfigError: its graphs were made with other settings than those of the configuration.
        """
        assert self._shards is not None
        data = self.config.data
        if data.show != "both":
            raise ConfigError(
                f"config key 'data.show' is {data.show!r}: shards are read as they are, with data.show=both"
            )
        if self._shards.is_dir() and not (self._shards / split).is_dir():
            raise DataError(f"{self._shards} has no split '{split}'; make it with gshn.preprocess --split {split}")
        limit = data.pairs.train if split == "train" else data.pairs.test
        index = read_index(self._shards / split, limit, self._leave_out if split == "train" else None)
        values = flat(self.config)
        for key, value in (LATER_SETTINGS | index.manifest.get("settings", {})).items():
            if key == "graph.tune" and values[key] == "none":
                continue  # the graphs have maps that nobody reads
            if (own := values.get(key)) != value:
                raise ConfigError(
                    f"config key '{key}' is {own!r}: the graphs in {index.folder} were made with {value!r}; "
                    "say so, leave it to them, or name other shards"
                )
        first = next((stored for name in index.graphs for stored in index.read(name)), None)
        if first is None:
            raise DataError(f"{index.folder} holds no graphs; run gshn.preprocess on other images")
        if "captions" not in first.annotation:
            held = ", ".join(sorted(first.annotation.keys() - {"index", "name", "content"})) or "no texts"
            raise DataError(f"{index.folder} holds {held}, where data.pairs.source needs captions; name other shards")
        return index

    @cached_property
    def _pair_categories(self) -> Sequence[Category]:
        if self._shards is not None:
            return self._index("train").categories
        return self.segmenter_of(self.images("test", 1)).categories

    def _segmenter_for(self, data: TaskData) -> Segmenter:
        # Only the annotation itself has the data set's categories; other photographs are not looked for before their
        # graphs are needed.
        annotated = data.segmenter == "ground-truth" and self.config.graph.regions != "patches"
        return self.segmenter(data, self._open(data, "test", 1).categories if annotated else ())

    def segmenter(self, data: PairData | TaskData, categories: Sequence[Category]) -> Segmenter:
        """Make the segmenter of a section of the configuration.

        Args:
            data: The section.
            categories: Vocabulary of the annotated segments; empty without annotations.

        Raises:
            ConfigError: a setting that the segmenter needs is missing.
            DataError: its weights cannot be used.
        """
        graph = self.config.graph
        if graph.regions == "patches":
            return GridSegmenter(graph.patches)
        return self._made_segmenter(data.segmenter, data.weights, tuple(categories), data.segments, data.fill)

    @cache  # noqa: B019
    def _made_segmenter(
        self, name: str, weights: str | None, categories: tuple[Category, ...], segments: int | None, fill: bool
    ) -> Segmenter:
        return make_segmenter(name, weights, categories, segments, fill)

    def _pairs(self, split: str, count: int | None) -> PairCorpus:
        images = self._captioned(split, count)
        leave_out = self._leave_out if split == "train" else None
        index, positions = self._graphs(images, self.segmenter_of(images), f"{split} images", leave_out)
        graphs, stored = load_all(index)
        graphs = graphs.with_categories(positions)
        show = self.config.data.show
        captions = [["" if show == "images" else c for c in images.captions[own["index"]]] for own in stored]
        if show == "texts":  # A test shows the picture that was trained with: another one would be news to the model.
            graphs = (graphs if split == "train" else self.pairs.graphs).repeating(0, len(stored))
        return PairCorpus(graphs, captions, [annotation["name"] for annotation in stored], self._are_scenes(split))

    def _captioned(self, split: str, count: int | None) -> Any:
        images = self.images(split, count)
        if not hasattr(images, "captions"):
            raise ConfigError(f"data.pairs.source is {self.config.data.pairs.source}, which has no captions")
        return images

    def _no_texts(self, task: Task, split: str, images: int) -> ConfigError:
        more = f"raise data.{task.texts}.{'train' if split == 'train' else 'test'}"
        return ConfigError(
            f"{self._task_data(task).source}: no {task.texts} on the {counted(images, f'{split} image')}; {more}"
        )

    def _texts(self, task: Task, split: str, limit: int | None) -> TaskCorpus:
        data, images = self._task_data(task), self.task_images(task.name, split, limit)
        leave_out = self._leave_out if split == "train" else None
        index, positions = self._graphs(images, self._segmenter_for(data), f"{split} images of {task.name}", leave_out)
        graphs: GraphDataset | StreamedGraphs
        if index.bytes > STREAMED:
            graphs = StreamedGraphs(ShardStream(index), positions)
            stored = sorted(index.annotations, key=lambda annotation: annotation["index"])
        else:
            graphs, stored = load_all(index)
            graphs = graphs.with_categories(positions)
        position = {annotation["index"]: place for place, annotation in enumerate(stored)}
        show = self.config.data.show
        if show == "texts" and split != "train":
            graphs = self.texts(task.name).graphs  # as in _pairs
        examples = [
            Example(
                "" if show == "images" else text.text,
                tuple(0 if show == "texts" else position[index] for index in text.image_indices),
                text.answers,
                text.id,
            )
            for text in getattr(images, task.texts)
            if all(index in position for index in text.image_indices)
        ]
        if not examples:
            raise self._no_texts(task, split, len(graphs))
        lists, answers = getattr(images, "answer_lists", False), getattr(images, "answers", None)
        wordnet = self._wordnet if lists else None
        return TaskCorpus(task, graphs, examples, lists, wordnet, None if answers is None else answers())

    @property
    def graph_parameters(self) -> GraphParameters:
        """Parameters of the graphs."""
        graph = self.config.graph
        regions = "boxes" if graph.regions == "boxes" else "masks"  # a patch is a mask
        return GraphParameters(graph.neighbours, graph.max_segments, regions, graph.whole_image, graph.pooling)

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone, which computes the visual features of nodes."""
        graph = self.config.graph
        backbone = make_backbone(graph.backbone, graph.levels, graph.precision, graph.mirror, graph.tuned_blocks)
        # A trained one is only asked what it is here; the model has its own.
        return backbone if backbone.trainable else backbone.to("cuda" if torch.cuda.is_available() else "cpu")

    def _graphs(
        self, images: ImageCollection, segmenter: Segmenter, label: str, leave_out: ImageNames | None = None
    ) -> tuple[Index, Tensor]:
        """Graphs of the images in the cache, and the index of each of their categories in the model's vocabulary."""
        packaged = getattr(images, "packaged", False)
        recipe = Recipe(images, segmenter, self.backbone, self.graph_parameters)
        index = cached(recipe, Path(self.config.data.cache), label, packaged, leave_out)
        return index, self._positions(recipe.categories)

    def _positions(self, categories: Sequence[Category]) -> Tensor:
        """Index in the model's vocabulary of each category of a segmenter, shape (categories,)."""
        if unknown := [category.name for category in categories if category.name not in self.categories]:
            tell(
                f"the model does not know {len(unknown)} of the segmenter's {len(categories)} categories, e.g. "
                f"{unknown[0]}; their segments count as regions without a name"
            )
        position = {name: index for index, name in enumerate(self.categories)}
        return torch.tensor([position.get(category.name, position[REGION.name]) for category in categories])


def word_frequencies(
    count: TextCount, captions_of: Iterable[Sequence[str]], weights: Sequence[float] | None
) -> dict[int, float]:
    """Share of the captions that contain each token, without special tokens.

    Args:
        count: Tokenizes the captions, and counts tokens that are cut off or unknown.
        captions_of: Captions of every image.
        weights: Relative frequency of each caption of an image; None: all are equally frequent.
    """
    occurs: dict[int, float] = {}
    images, special, rest = 0, set(count.tokenizer.all_special_ids), iter(captions_of)
    while some := list(islice(rest, IMAGES_READ)):
        images += len(some)
        read = iter(count.read([caption for captions in some for caption in captions]))
        for captions in some:
            share = np.ones(len(captions)) if weights is None else np.asarray(weights)
            for weight, ids in zip(share / share.sum(), islice(read, len(captions)), strict=True):
                for token in set(ids) - special:
                    occurs[token] = occurs.get(token, 0.0) + float(weight)
    return {token: total / images for token, total in occurs.items()}


def build_model(config: Config, corpora: Corpora, start: GSHN | None = None) -> GSHN:
    """A new model whose vocabulary and input standardisation come from the training corpora.

    Args:
        config: The configuration.
        corpora: The corpora.
        start: A finished model whose weights and standardisation are used: see :mod:`gshn.training.start`.

    Raises:
        ConfigError: the shapes of ``start`` differ.
    """
    tokenizer = tokenizer_of(config, corpora.training_texts(), start)
    count = TextCount(tokenizer)
    occurs = word_frequencies(count, corpora.pairs.captions(), corpora.caption_weights)
    count.tell("training captions")
    words = sorted(occurs)
    for task in config.finetune.tasks:
        count = TextCount(tokenizer)
        count.read(list(dict.fromkeys(example.text for example in corpora.texts(task).examples)))
        count.tell(f"training texts of {task}, each counted once")
    found = [corpora.pairs.moments]
    found += [corpora.texts(task).moments for task in config.finetune.tasks]
    moments = [moment for moment in found if moment is not None]
    channels = len(moments[0][0]) if moments else 0
    vocabulary = Vocabulary(corpora.categories, corpora.answers, words, channels)
    model = GSHN(config, vocabulary, tokenizer, None if start is None else start.text.architecture)
    if model.stl is not None:
        model.stl.init_word_biases(torch.tensor([occurs[word] for word in words]))
    if moments:
        # Data sets have equal weight, however many images they have.
        mean, square = (torch.stack(parts).mean(dim=0) for parts in zip(*moments, strict=True))
        model.node_embedding.mean.copy_(mean)
        model.node_embedding.std.copy_((square - mean.square()).clamp(min=1e-6).sqrt())
    if start is not None:
        take_over(model, start)
    return model
