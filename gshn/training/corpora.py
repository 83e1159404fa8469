"""The corpora that a configuration names, as cached scene graphs with texts, and the model that fits them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from gshn.config import Config
from gshn.data.easyvqa import EasyVQA
from gshn.data.images import ImageCollection
from gshn.data.shapescenes import ShapeScenes
from gshn.encoders.text import build_tokenizer
from gshn.graphs.backbones import Backbone, EfficientNetLite0, SmallConvNet
from gshn.graphs.cache import GraphDataset, load_or_build
from gshn.graphs.scene_graph import GraphParameters
from gshn.model import GSHN, Vocabulary
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Segmenter
from gshn.segments.superpixels import SuperpixelSegmenter
from gshn.training.batches import PairCorpus, QuestionCorpus


class Corpora:
    """Training and test corpora; graphs are built, or read from the cache, when a corpus is first asked for."""

    def __init__(self, config: Config):
        """Set up for a configuration."""
        self.config = config

    @cached_property
    def categories(self) -> list[str]:
        """Names of the segment categories of all data sets, each once, in order."""
        scenes = self.scenes("test", 1)
        names = [c.name for segmenter in (self._segmenter(scenes), SuperpixelSegmenter()) for c in segmenter.categories]
        return list(dict.fromkeys(names))

    @cached_property
    def pairs(self) -> PairCorpus:
        """Training scenes with captions."""
        return self._pairs("train", self.config.data.scenes.train)

    @cached_property
    def test_pairs(self) -> PairCorpus:
        """Held-out scenes with captions."""
        return self._pairs("test", self.config.data.scenes.test)

    @cached_property
    def questions(self) -> QuestionCorpus:
        """easy-VQA's training images with questions."""
        return self._questions("train", self.config.data.questions.train_images)

    @cached_property
    def test_questions(self) -> QuestionCorpus:
        """easy-VQA's test images with questions."""
        return self._questions("test", self.config.data.questions.test_images)

    def training_texts(self) -> Iterator[str]:
        """Every caption and question that is trained on."""
        for captions in self.pairs.captions:
            yield from captions
        if self.config.finetune.task == "vqa":
            yield from (question.text for question in self.questions.questions)

    def scenes(self, split: str, count: int) -> ShapeScenes:
        """The first scenes of a split."""
        # Scenes do not depend on the run's seed: all runs are compared on the same ones.
        return ShapeScenes(split, count, image_size=self.config.data.scenes.image_size)

    def _pairs(self, split: str, count: int) -> PairCorpus:
        scenes = self.scenes(split, count)
        return PairCorpus(self._graphs(scenes, self._segmenter(scenes), f"{split} scenes"), scenes.captions)

    def _questions(self, split: str, limit: int | None) -> QuestionCorpus:
        images = EasyVQA(split, limit)
        return QuestionCorpus(self._graphs(images, SuperpixelSegmenter(), f"{split} questions"), images.questions)

    def _segmenter(self, scenes: ShapeScenes) -> Segmenter:
        if self.config.data.scenes.segmenter == "superpixels":
            return SuperpixelSegmenter()
        return GroundTruthSegmenter(scenes.categories)

    @cached_property
    def _backbone(self) -> Backbone:
        return SmallConvNet() if self.config.graph.backbone == "small_conv" else EfficientNetLite0()

    def _graphs(self, images: ImageCollection, segmenter: Segmenter, label: str) -> GraphDataset:
        graph = self.config.graph
        graphs = load_or_build(
            images,
            segmenter,
            self._backbone,
            GraphParameters(graph.neighbours, graph.max_segments),
            Path(self.config.data.cache),
            label,
        )
        # A segmenter's category indices count within its own vocabulary; the model's within all of them.
        positions = torch.tensor([self.categories.index(category.name) for category in segmenter.categories])
        return graphs.with_categories(positions)


def build_model(config: Config, corpora: Corpora) -> GSHN:
    """A new model whose vocabulary and input standardisation come from the training corpora."""
    texts = list(corpora.training_texts())
    tokenizer = build_tokenizer(config.model.text.encoder, texts, config.model.text.max_length)
    captions = [caption for captions in corpora.pairs.captions for caption in captions]
    used = {token for ids in tokenizer(captions, truncation=True)["input_ids"] for token in ids}
    words = sorted(used - set(tokenizer.all_special_ids))
    graphs = [corpora.pairs.graphs]
    if config.finetune.task == "vqa":
        graphs.append(corpora.questions.graphs)
    features = [x for x in (dataset.x for dataset in graphs) if x is not None]
    channels = features[0].shape[1] if features else 0
    vocabulary = Vocabulary(corpora.categories, EasyVQA.answers(), words, channels)
    model = GSHN(config, vocabulary, tokenizer, pretrained_text=True)
    if features:
        # Data sets count alike, however many images they have.
        moments = [(x.mean(dim=0), x.square().mean(dim=0)) for x in features]
        mean, square = (torch.stack(parts).mean(dim=0) for parts in zip(*moments, strict=True))
        model.node_embedding.mean.copy_(mean)
        model.node_embedding.std.copy_((square - mean.square()).clamp(min=1e-6).sqrt())
    return model
