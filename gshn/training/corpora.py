"""The corpora that a configuration names, as cached scene graphs with texts, and the model that fits them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gshn.config import Config
from gshn.data.easyvqa import EasyVQA
from gshn.data.images import ImageCollection
from gshn.data.shapescenes import ShapeScenes
from gshn.data.sources import open_source
from gshn.data.vqa2 import answer_vocabulary
from gshn.encoders.text import build_tokenizer
from gshn.errors import ConfigError
from gshn.graphs.backbones import Backbone, EfficientNetLite0, SmallConvNet
from gshn.graphs.dataset import GraphDataset
from gshn.graphs.scene_graph import GraphParameters
from gshn.graphs.shards.index import load_all, load_or_build, read_index
from gshn.graphs.shards.stream import ShardStream
from gshn.graphs.shards.write import Recipe
from gshn.model import GSHN, Vocabulary
from gshn.segments.choose import make_segmenter
from gshn.segments.grid import GridSegmenter
from gshn.segments.panoptic import Category, Segmenter
from gshn.segments.superpixels import REGION, SuperpixelSegmenter
from gshn.training.batches import PairCorpus, QuestionCorpus, StreamedPairs

logger = logging.getLogger(__name__)


class Corpora:
    """Training and test corpora; graphs are built, or read from the cache, when a corpus is first asked for."""

    def __init__(self, config: Config, vocabulary: Vocabulary | None = None):
        """Set up for a configuration.

        Args:
            config: The configuration.
            vocabulary: Of the model that is to be evaluated; None where a model is to be built.
        """
        self.config, self.vocabulary = config, vocabulary

    @cached_property
    def categories(self) -> list[str]:
        """Names of the segment categories of all data sets, each once, in order; the model's, where there is one."""
        if self.vocabulary is not None:
            return self.vocabulary.categories
        found = [self._pair_categories, SuperpixelSegmenter.categories]
        if self.config.finetune.task == "vqa":
            found.append(self._question_segmenter.categories)
        return list(dict.fromkeys(category.name for categories in found for category in categories))

    @cached_property
    def pairs(self) -> PairCorpus:
        """Training images with captions."""
        if self._shards is None:
            return self._pairs("train", self.config.data.pairs.train)
        index = read_index(self._shards / "train")
        return StreamedPairs(ShardStream(index), self._positions(index.categories))

    @cached_property
    def test_pairs(self) -> PairCorpus:
        """Held-out images with captions."""
        if self._shards is None:
            return self._pairs("test", self.config.data.pairs.test)
        index = read_index(self._shards / "test")
        graphs, stored = load_all(index)
        captions, names = ([annotation[key] for annotation in stored] for key in ("captions", "name"))
        graphs = graphs.with_categories(self._positions(index.categories))
        return PairCorpus(graphs, captions, names, self._are_scenes)

    @cached_property
    def questions(self) -> QuestionCorpus:
        """Training images with questions."""
        return self._questions("train", self.config.data.questions.train)

    @cached_property
    def test_questions(self) -> QuestionCorpus:
        """Held-out images with questions."""
        return self._questions("test", self.config.data.questions.test)

    @cached_property
    def answers(self) -> list[str]:
        """What questions can be answered with."""
        if self.config.data.questions.source == "easyvqa" or self.config.finetune.task != "vqa":
            return EasyVQA.answers()
        return answer_vocabulary(self.questions.questions, self.config.data.questions.answers)

    @cached_property
    def caption_weights(self) -> list[float] | None:
        """How often each caption of an image is trained on; None where all count alike."""
        return self.config.data.pairs.caption_weights if self._are_scenes else None

    @cached_property
    def _are_scenes(self) -> bool:
        if self._shards is not None:
            return str(read_index(self._shards / "train").manifest["collection"]).startswith("shapescenes")
        return self.config.data.pairs.source == "shapescenes"

    def training_texts(self) -> Iterator[str]:
        """Every caption and question that is trained on."""
        for captions in self.pairs.captions():
            yield from captions
        if self.config.finetune.task == "vqa":
            yield from (question.text for question in self.questions.questions)

    def images(self, split: str, limit: int | None) -> ImageCollection:
        """The first images of a split of ``data.pairs.source``.

        Raises:
            ConfigError: the source's images are not at hand: it is shards.
        """
        pairs = self.config.data.pairs
        if pairs.source == "shapescenes":
            # Scenes do not depend on the run's seed: all runs are compared on the same ones.
            return ShapeScenes({"val": "validation"}.get(split, split), limit or 1, image_size=pairs.image_size)
        if self._shards is not None:
            raise ConfigError(f"data.pairs.source is {pairs.source}: shards hold graphs, and no images")
        return open_source(pairs.source, split, pairs.image_size, limit)

    def segmenter_of(self, images: ImageCollection) -> Segmenter:
        """What cuts images of ``data.pairs`` into segments."""
        pairs = self.config.data.pairs
        return self._segmenter(pairs.segmenter, pairs.weights, images.categories)

    @property
    def _shards(self) -> Path | None:
        kind, _, folder = self.config.data.pairs.source.partition(":")
        return Path(folder) if kind == "shards" else None

    @cached_property
    def _pair_categories(self) -> Sequence[Category]:
        if self._shards is not None:
            return read_index(self._shards / "train").categories
        return self._pair_segmenter.categories

    @cached_property
    def _pair_segmenter(self) -> Segmenter:
        return self.segmenter_of(self.images("test", 1))

    @cached_property
    def _question_segmenter(self) -> Segmenter:
        questions = self.config.data.questions
        return self._segmenter(questions.segmenter, questions.weights, ())

    def _segmenter(self, name: str, weights: str | None, categories: Sequence[Category]) -> Segmenter:
        graph = self.config.graph
        return GridSegmenter(graph.patches) if graph.regions == "patches" else make_segmenter(name, weights, categories)

    def _pairs(self, split: str, count: int | None) -> PairCorpus:
        images = self.images(split, count)
        if not hasattr(images, "captions"):
            raise ConfigError(f"data.pairs.source is {self.config.data.pairs.source}, which has no captions")
        graphs, stored = self._graphs(images, self._pair_segmenter, f"{split} images")
        captions = [list(images.captions[annotation["index"]]) for annotation in stored]
        return PairCorpus(graphs, captions, [annotation["name"] for annotation in stored], self._are_scenes)

    def _questions(self, split: str, limit: int | None) -> QuestionCorpus:
        settings = self.config.data.questions
        images: Any
        if settings.source == "easyvqa":
            images = EasyVQA(split, limit)
        else:
            images = open_source(settings.source, split, settings.image_size, limit)
            if not hasattr(images, "questions"):
                raise ConfigError(f"data.questions.source is {settings.source}, which has no questions; use vqa2:DIR")
        graphs, stored = self._graphs(images, self._question_segmenter, f"{split} question images")
        position = {annotation["index"]: place for place, annotation in enumerate(stored)}
        asked = [replace(q, image_index=position[q.image_index]) for q in images.questions if q.image_index in position]
        return QuestionCorpus(graphs, asked)

    @property
    def graph_parameters(self) -> GraphParameters:
        """What shapes the graphs."""
        graph = self.config.graph
        regions = "boxes" if graph.regions == "boxes" else "masks"  # a patch is a mask
        return GraphParameters(graph.neighbours, graph.max_segments, regions)

    @cached_property
    def backbone(self) -> Backbone:
        """Gives the nodes' visual features."""
        if self.config.graph.backbone == "small_conv":
            return SmallConvNet()
        return EfficientNetLite0().to("cuda" if torch.cuda.is_available() else "cpu")

    def _graphs(
        self, images: ImageCollection, segmenter: Segmenter, label: str
    ) -> tuple[GraphDataset, list[dict[str, Any]]]:
        packaged = isinstance(images, ShapeScenes | EasyVQA)  # a broken image there is a broken installation
        recipe = Recipe(images, segmenter, self.backbone, self.graph_parameters)
        graphs, stored = load_or_build(recipe, Path(self.config.data.cache), label, strict=packaged)
        return graphs.with_categories(self._positions(segmenter.categories)), stored

    def _positions(self, categories: Sequence[Category]) -> Tensor:
        """A segmenter's category indices count within its own vocabulary; the model's within all of them."""
        if unknown := [category.name for category in categories if category.name not in self.categories]:
            logger.warning(
                "the model does not know %d of the segmenter's %d categories, e.g. %s; their segments count as regions "
                "without a name",
                *(len(unknown), len(categories), unknown[0]),
            )
        position = {name: index for index, name in enumerate(self.categories)}
        return torch.tensor([position.get(category.name, position[REGION.name]) for category in categories])


def build_model(config: Config, corpora: Corpora) -> GSHN:
    """A new model whose vocabulary and input standardisation come from the training corpora."""
    tokenizer = build_tokenizer(config.model.text.encoder, corpora.training_texts(), config.model.text.max_length)
    used: set[int] = set()
    for captions in corpora.pairs.captions():
        used.update(token for ids in tokenizer(captions, truncation=True)["input_ids"] for token in ids)
    words = sorted(used - set(tokenizer.all_special_ids))
    found = [corpora.pairs.moments]
    if config.finetune.task == "vqa":
        found.append(corpora.questions.moments)
    moments = [moment for moment in found if moment is not None]
    channels = len(moments[0][0]) if moments else 0
    vocabulary = Vocabulary(corpora.categories, corpora.answers, words, channels)
    model = GSHN(config, vocabulary, tokenizer, pretrained_text=True)
    if moments:
        # Data sets count alike, however many images they have.
        mean, square = (torch.stack(parts).mean(dim=0) for parts in zip(*moments, strict=True))
        model.node_embedding.mean.copy_(mean)
        model.node_embedding.std.copy_((square - mean.square()).clamp(min=1e-6).sqrt())
    return model
