"""A trained model: images and texts in; embeddings, answers, pictures and spikes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from gshn.api.encoded import Details, Images, Texts
from gshn.api.html import table
from gshn.api.pictures import Picture, as_list, check_texts, name_of, read
from gshn.api.results import Answer, ImageNetwork, Match
from gshn.api.search import Index, index_file
from gshn.config import Config, PairData, TaskData
from gshn.data.files import list_images
from gshn.data.images import ImageSample
from gshn.data.tasks import TASKS
from gshn.encoders.alignment import Embeddings
from gshn.encoders.text import TextCount
from gshn.errors import CheckpointError, ConfigError, DataError, tell
from gshn.evaluation.answers import answer_logits, check_trained
from gshn.evaluation.explanation import explain, require_paths
from gshn.evaluation.retrieval import similarities
from gshn.graphs.scene_graph import SceneGraph
from gshn.hub import NEEDED, checkpoint_folder, push
from gshn.inference import (
    IMAGES_PER_BATCH,
    TEXTS_PER_BATCH,
    EncodedImages,
    SpikeCount,
    count_texts,
    device_of,
    embed_texts,
    encode_batch,
    spiking_inputs,
)
from gshn.model import GSHN, NodeTokens
from gshn.segments.panoptic import Category, Segmenter
from gshn.training.card import model_card
from gshn.training.corpora import Corpora
from neuromorphic.errors import UserError, counted
from neuromorphic.files import file_digest

TEMPLATES = ("{}", "a {}", "a photo of a {}")
"""What :meth:`Model.classify` makes texts of labels with, as far as the model knows the words."""
STEP = 16
"""Images that the progress bar counts together."""

Many = Images | list[Any] | tuple[Any, ...]
"""Several images, or encoded ones."""
ManyTexts = list[str] | tuple[str, ...]


def load(
    name: str | Path,
    *,
    segmenter: str | None = None,
    weights: str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> Model:
    """Load a trained model.

    Args:
        name: A folder that ``gshn.train`` wrote; ``"tour"``, a small model that comes with the package; or
            ``owner/name`` on the Hugging Face hub.
        segmenter: The segmenter that cuts images, in place of the checkpoint's own.
        weights: Weights of a learned segmenter: a folder, or a name on the hub.
        device: Where PyTorch computes. By default the first GPU where there is one, else the CPU.
        revision: Branch, tag or commit of a name on the hub.

    Returns:
        The model, in eval mode.

    Raises:
        CheckpointError: there is no such checkpoint, or it is broken.
        ConfigError: the segmenter cannot be used.
    """
    folder = checkpoint_folder(name, revision)
    return Model(GSHN.from_pretrained(folder), str(name), folder, segmenter, weights, device)


class Model:
    """A trained model, loaded by :func:`load`.

    Segmenter, backbone and image size are those of the checkpoint's configuration. Every method that takes images or
    texts also takes encoded ones: encode once what is used often.

    Attributes:
        module: The PyTorch module, in eval mode.
        name: The name that the model was loaded by.
        folder: The folder of its files.
        config: The configuration that it was trained with.
        corpora: The data that it was trained and tested on, with the segmenter that was asked for.
    """

    def __init__(
        self,
        module: GSHN,
        name: str,
        folder: Path,
        segmenter: str | None = None,
        weights: str | None = None,
        device: str | None = None,
    ) -> None:
        """Wrap a module; for the arguments see :func:`load`.

        Raises:
            ConfigError: the device cannot be used, or the segmenter is unknown.
        """
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            module.to(place)
        except (RuntimeError, AssertionError) as error:  # PyTorch without CUDA says so by an assertion
            raise ConfigError(f"device {place} cannot be used ({str(error).splitlines()[0]}); name another") from None
        self.module, self.name, self.folder, self.config = module, name, folder, module.config
        self.corpora = Corpora(with_segmenter(module.config, segmenter, weights), module.vocabulary)

    @property
    def tasks(self) -> list[str]:
        """Tasks that the model was trained on: retrieval, and any of vqa, entailment and nlvr2."""
        return ["retrieval", *self.module.vocabulary.answers]

    def __repr__(self) -> str:
        return f"Model({self.name}: {self.module!r}, {' + '.join(self.tasks)})"

    def _repr_html_(self) -> str:
        pairs, graph, spiking = self.config.data.pairs, self.config.graph, self.config.model.spiking
        rows = {
            "model": repr(self.module),
            "tasks": ", ".join(self.tasks),
            "trained on": pairs.source,
            "segments": f"{pairs.segmenter}, images of at most {pairs.image_size} pixels",
            "features": graph.backbone,
            "spikes": f"{spiking.layers} layers, {spiking.steps} steps" if self.module.encoder.spiking else "none",
        }
        return table(rows.items(), ("checkpoint", self.name))

    def encode_images(
        self,
        images: Picture | Iterable[Picture],
        task: str = "retrieval",
        *,
        categories: Sequence[Category] = (),
        keep: bool = True,
    ) -> Images:
        """Cut images into segments, build their scene graphs, and encode them.

        Args:
            images: Files, folders (with their subfolders), Pillow images, RGB arrays of shape (H, W, 3), uint8, or
                images of a data set (:class:`gshn.data.images.ImageSample`); one or several, in any mixture. Larger
                images are scaled down to the size that the model was trained with.
            task: The task that they are for: ``retrieval``, ``vqa``, ``entailment`` or ``nlvr2``. Each has its own
                segmenter and image size in the configuration.
            categories: Categories of annotated images of a data set. Without them, a model that was trained on
                annotated segments uses superpixels instead.
            keep: Keep pixels, segments and graphs, too. Embeddings alone take a few kilobytes an image, and are enough
                for :meth:`similarity` and :meth:`classify`.

        Returns:
            The encoded images, in the order in which they were given.

        Raises:
            DataError: there is no image, or one is missing, broken or without a segment; the message names it.
            CheckpointError: the model was not trained on the task.
        """
        data, segmenter = self._section(task), self._segmenter(task, categories)
        pictures = as_list(images)
        if not pictures:
            raise DataError("there is no image to encode: the list is empty")
        names = tuple(name_of(picture, position) for position, picture in enumerate(pictures))
        count, encoded = SpikeCount(), []
        graphs: list[SceneGraph] = []
        samples: list[ImageSample] = []
        hidden: dict[str, Any] = {"disable": True} if len(pictures) <= STEP else {}  # else TQDM_DISABLE counts
        with tqdm(total=len(pictures), desc="encode images", unit=" images", leave=False, **hidden) as bar:
            for start in range(0, len(pictures), IMAGES_PER_BATCH):
                together = range(start, min(start + IMAGES_PER_BATCH, len(pictures)))
                batch: list[SceneGraph] = []
                for some in (together[step : step + STEP] for step in range(0, len(together), STEP)):
                    upright = self.config.data.upright
                    read_now = [read(pictures[place], place, data.image_size, upright) for place in some]
                    made, found = self.corpora.graphs_of(read_now, segmenter)
                    batch += made
                    samples += found if keep else []
                    bar.update(len(some))
                encoded.append(self._encode(batch, count, keep))
                graphs += batch if keep else []
        every = EncodedImages.cat(encoded)
        kept = None
        if keep:
            shaped = (self.corpora.graph_parameters, tuple(self.module.vocabulary.categories))
            kept = Details(tuple(samples), tuple(graphs), every.tokens, *shaped)
        return Images(names, every.embeddings, count, task, kept)

    def _encode(self, graphs: Sequence[SceneGraph], count: SpikeCount, keep: bool) -> EncodedImages:
        """Encode graphs: all at once, or those at once whose images a trained backbone can look at together."""
        groups: dict[Any, list[int]] = {}
        for position, graph in enumerate(graphs):
            groups.setdefault(graph.image.shape if "image" in graph else None, []).append(position)
        parts = []
        for rows in groups.values():
            batch = Batch.from_data_list([graphs[row] for row in rows])
            parts.append(encode_batch(self.module, batch, count, tokens=keep))
        every = EncodedImages.cat(parts)
        if len(groups) == 1:
            return every
        order = torch.tensor([row for rows in groups.values() for row in rows]).argsort()
        return EncodedImages(every.tokens[order], every.embeddings[order.to(every.embeddings.whole.device)])

    def encode_texts(self, texts: str | Iterable[str]) -> Texts:
        """Encode captions, or other texts that images are compared with.

        Args:
            texts: One text, or several.

        Raises:
            DataError: there is no text, or something else than a text.
        """
        own = check_texts(texts)
        if not own:
            raise DataError("there is no text to encode: the list is empty")
        count_texts(self.module, own, "texts")
        return Texts(tuple(own), embed_texts(self.module, own))

    def unknown_words(self, text: str) -> list[str]:
        """Words of a text that the model never saw in training, each once: it reads them all as one and the same."""
        count = TextCount(self.module.tokenizer)
        count.read(check_texts(text))
        return [word for word in count.unknown if any(map(str.isalnum, word))]

    def similarity(
        self, texts: Texts | str | Iterable[str], images: Images | Picture | Iterable[Picture]
    ) -> NDArray[np.float32]:
        """How well texts describe images. ``gshn.evaluate --task retrieval`` ranks by this.

        Args:
            texts: T texts.
            images: I images.

        Returns:
            Shape (T, I), in [-1, 1]; :meth:`gshn.model.GSHN.similarity` has the equation.
        """
        own = texts if isinstance(texts, Texts) else self.encode_texts(texts)
        theirs = images if isinstance(images, Images) else self.encode_images(images, keep=False)
        out: NDArray[np.float32] = (
            similarities(self.module.similarity, own.encoded.split(TEXTS_PER_BATCH), theirs.encoded).float().numpy()
        )
        return out

    def index(self, folder: str | Path, file: str | Path | None = None) -> Index:
        """Encode the images of a folder and its subfolders once, to be searched by text many times.

        What was encoded is kept in a file; later calls encode only what is new or has changed (by size and time of the
        last change), and drop what is gone. An image that cannot be read is left out, which a notice tells.

        Args:
            folder: The folder.
            file: Where the index is kept; by default in the folder's own ``.gshn``, or in the user's cache where the
                folder cannot be written to.

        Returns:
            The index: ``model.index("photos").search("a dog on grass", k=5)``.

        Raises:
            DataError: there is no such folder, or no image in it that can be used.
            UserError: the file cannot be written.
        """
        place = Path(folder)
        if not place.is_dir():
            raise DataError(f"{folder} is not a folder; name one with photographs")
        if not list_images(place)[0]:
            raise DataError(f"folder {folder} has no image that Pillow reads here; name another one")
        key = " ".join(
            [
                *(file_digest(self.folder / name) for name in NEEDED),
                self._segmenter("retrieval", ()).key,
                str(self._settings("retrieval")),
                version("gshn"),
            ]
        )
        index = Index(place, index_file(place, key) if file is None else Path(file), self._scores)
        index.refresh(lambda paths: self.encode_images(paths, keep=False).encoded, key)
        return index

    def _scores(self, text: str, images: Embeddings) -> Tensor:
        """Similarity of one text with I images, shape (I,)."""
        texts = self.encode_texts(text).encoded
        return similarities(self.module.similarity, [texts], images.to(device_of(self.module)))[0].float()

    @overload
    def classify(self, images: Picture, labels: Sequence[str], templates: Sequence[str] | None = None) -> Answer: ...

    @overload
    def classify(self, images: Many, labels: Sequence[str], templates: Sequence[str] | None = None) -> list[Answer]: ...

    def classify(
        self, images: Picture | Many, labels: Sequence[str], templates: Sequence[str] | None = None
    ) -> Answer | list[Answer]:
        """Zero-shot classification: say which of some labels fits an image best.

        P(label) is the softmax over labels of the mean similarity of the label's texts, times the inverse temperature
        of the contrast in training. This is CLIP's (arXiv:2103.00020, sec. 3.1.4), with similarities averaged in place
        of embeddings, because they compare parts, too.

        Args:
            images: One image, or several.
            labels: Such as ``["dog", "cat"]``.
            templates: Texts with ``{}`` for the label; by default those of :data:`TEMPLATES` all of whose words the
                model knows.

        Returns:
            The labels, the most probable first; a list where several images, or encoded ones, are given.

        Raises:
            DataError: there is no label, or a template has no ``{}``.
        """
        labels = check_texts(labels)
        if isinstance(templates, str):
            templates = [templates]
        chosen = self._templates() if templates is None else list(templates)
        for template in chosen:
            if template.count("{}") != 1:
                raise DataError(f"template {template!r} must have {{}} once, in place of the label")
        if not labels or not chosen:
            raise DataError(f"there is no {'template' if labels else 'label'} to choose with: the list is empty")
        theirs = images if isinstance(images, Images) else self.encode_images(images, keep=False)
        texts = [template.replace("{}", label) for label in labels for template in chosen]
        scores = self.similarity(texts, theirs).reshape(len(labels), len(chosen), -1).mean(axis=1)
        with torch.inference_mode():
            logits = torch.from_numpy(scores.T) * self.module.similarity_scale().cpu()
        rows = zip(theirs.names, logits.softmax(dim=1).numpy(), strict=True)
        found = [Answer.of(name, labels, probabilities) for name, probabilities in rows]
        return (
            found
            if isinstance(images, Images | list | tuple)
            else only(found, "images, and classify is asked about one")
        )

    def _templates(self) -> list[str]:
        return [template for template in TEMPLATES if not self.unknown_words(template.replace("{}", ""))]

    @overload
    def answer(self, images: Picture, questions: str) -> Answer: ...

    @overload
    def answer(self, images: Picture, questions: ManyTexts) -> list[Answer]: ...

    @overload
    def answer(self, images: Many, questions: str | ManyTexts) -> list[Answer]: ...

    def answer(self, images: Picture | Many, questions: str | ManyTexts) -> Answer | list[Answer]:
        """Answer a question about an image (visual question answering).

        Args:
            images: One image, or several.
            questions: One question, or several. Either there are as many as images, or there is one of one kind, which
                goes with all of the other.

        Returns:
            Every answer of the model's vocabulary with its probability, the most probable first; a list where several
            questions or images, or encoded images, are given.

        Raises:
            CheckpointError: the model was not trained on vqa.
        """
        return self._answer("vqa", [images], questions)

    @overload
    def entails(self, images: Picture, texts: str) -> Answer: ...

    @overload
    def entails(self, images: Picture, texts: ManyTexts) -> list[Answer]: ...

    @overload
    def entails(self, images: Many, texts: str | ManyTexts) -> list[Answer]: ...

    def entails(self, images: Picture | Many, texts: str | ManyTexts) -> Answer | list[Answer]:
        """Say whether a text follows from an image: entailment, neutral or contradiction.

        Args:
            images: As in :meth:`answer`.
            texts: One hypothesis, or several.

        Raises:
            CheckpointError: the model was not trained on entailment.
        """
        return self._answer("entailment", [images], texts)

    @overload
    def judge(self, left: Picture, right: Picture, statements: str) -> Answer: ...

    @overload
    def judge(
        self, left: Picture | Many, right: Picture | Many, statements: str | ManyTexts
    ) -> Answer | list[Answer]: ...

    def judge(self, left: Picture | Many, right: Picture | Many, statements: str | ManyTexts) -> Answer | list[Answer]:
        """Say whether a statement about two images is true or false, as in NLVR2.

        Args:
            left: The left image, or several, as in :meth:`answer`.
            right: The right image, or several.
            statements: One statement, or several.

        Raises:
            CheckpointError: the model was not trained on nlvr2.
        """
        return self._answer("nlvr2", [left, right], statements)

    def _answer(self, task: str, sides: Sequence[Picture | Many], texts: str | ManyTexts) -> Answer | list[Answer]:
        check_trained(self.module, task, self.name)
        own = check_texts(texts)
        encoded = [self._encoded(side, task) for side in sides]
        sizes = {len(images) for images in encoded} | {len(own)}
        total = max(sizes)
        if not own or sizes - {1, total}:
            given = " and ".join(counted(len(images), "image") for images in encoded)
            texts_given = counted(len(own), "text")
            raise DataError(f"got {given} and {texts_given}: give as many of each, or one of one kind")
        own = own if len(own) == total else own * total
        count_texts(self.module, own, f"{task} texts")
        tokens, image, first = [], [], 0
        for images in encoded:
            tokens.append(images.details.tokens)
            image.append([first + (row if len(images) > 1 else 0) for row in range(total)])
            first += len(images)
        positions = list(zip(*image, strict=True))
        logits = answer_logits(self.module, task, NodeTokens.cat(tokens), own, positions)
        answers = self.module.vocabulary.answers[task]
        rows = zip(own, logits.softmax(dim=1).numpy(), strict=True)
        found = [Answer.of(text, answers, probabilities) for text, probabilities in rows]
        if isinstance(texts, str) and not any(isinstance(side, Images | list | tuple) for side in sides):
            return only(found, "images; encode_images takes folders")
        return found

    def _encoded(self, images: Picture | Many, task: str) -> Images:
        if not isinstance(images, Images):
            return self.encode_images(images, task)
        if self._settings(images.task) != self._settings(task):
            tell(
                f"images were encoded for {images.task}, whose segmenter or image size is not that of {task}: "
                f"encode_images(..., task={task!r}) is what the model was trained with"
            )
        return images

    def explain(self, image: Images | Picture, text: str, *, categories: Sequence[Category] = ()) -> Match:
        """Say which segments of an image drive its match with a text; ``.save("why.png")`` draws it.

        Args:
            image: One image.
            text: One text.
            categories: As in :meth:`encode_images`.

        Returns:
            Similarity, the share of each segment in it, and a picture.

        Raises:
            CheckpointError: the model's encoder lacks one of the two paths that are shown.
            DataError: there is no image, or more than one.
        """
        require_paths(self.module)
        (text,) = check_texts([text])
        images = self._one(image, categories)
        count_texts(self.module, [text], "the text")
        details = explain(self.module, images.graphs[0], text)
        return Match(images.names[0], text, details, images.pixels[0], images.segments[0])

    def _one(self, image: Images | Picture, categories: Sequence[Category] = ()) -> Images:
        images = image if isinstance(image, Images) else self.encode_images(image, categories=categories)
        if len(images) != 1:
            raise DataError(f"there are {len(images)} images, and one is asked about; take one of them, images[0] say")
        return images

    @torch.inference_mode()
    def spiking_network(self, image: Images | Picture) -> ImageNetwork:
        """The spiking path of one image's scene graph as a NIR graph with its input, for neuromorphic simulators.

        Args:
            image: One image.

        Raises:
            CheckpointError: the model has no spiking path.
            DataError: there is no image, or more than one.
        """
        encoder = self.module.encoder.spiking
        if self.config.model.encoder != "hybrid" or encoder is None or not encoder.neuron.spikes:
            raise CheckpointError(
                f"{self.name} has no spiking path: model.spiking.enabled is false, model.spiking.neuron does not "
                "spike, or model.encoder is not hybrid; train with model.spiking.enabled=true"
            )
        # Late: only this needs the exporter.
        from gshn.export.side_by_side import constant_input, pytorch_spikes
        from gshn.export.to_nir import spiking_graph_to_nir

        images = self._one(image)
        graphs = Batch.from_data_list([images.graphs[0]]).to(device_of(self.module))
        (inputs,) = spiking_inputs(self.module, self.module.node_inputs(graphs))
        graph = spiking_graph_to_nir(encoder, inputs.aggregation, inputs.num_nodes)
        spikes = {f"lif_{k}": layer for k, layer in enumerate(pytorch_spikes(encoder, inputs))}
        return ImageNetwork(images.names[0], graph, {"input": constant_input(inputs.x, encoder.steps)}, spikes)

    def card(self, name: str | None = None, images: int = 64) -> str:
        """The model card, as Markdown: data, figures, spikes, modelled energy, and the command that trained the model.

        Args:
            name: The name that readers load the model by. By default the one that it was loaded by here.
            images: Held-out images that energy is modelled on; 0 leaves energy out. Where the data are missing, it is
                left out, too, with a note.
        """
        # Late: only this needs the profiler.
        from gshn.profiling.report import profile, read_figures, report_of
        from neuromorphic.profiling.energy import load_models

        energy: dict[str, dict[str, float]] = {}
        encoder = self.module.encoder.spiking
        if images and self.config.model.encoder == "hybrid" and encoder is not None and encoder.neuron.spikes:
            images = min(images, self.config.data.pairs.test or images)
            try:
                report = report_of(profile(self.folder, images), load_models(), {}, "torch", "float")
                energy = {key: own | {"images": images} for key, own in report["totals"]["joules_per_image"].items()}
            except UserError as error:
                tell(f"the model card of {self.name} is without energy: {error}")
        return model_card(self.module, name or self.name, read_figures(self.folder / "metrics.json"), energy)

    def push_to_hub(self, name: str, *, private: bool | None = None, images: int = 64) -> str:
        """Upload the checkpoint with its figures and its model card (:meth:`card`) to the Hugging Face hub.

        Args:
            name: ``owner/name``, or ``name`` in your own account. The repository is created where there is none.
            private: Whether it is private. By default as the account is set.
            images: As in :meth:`card`.

        Returns:
            Address of the commit.

        Raises:
            UserError: the hub refused, or cannot be reached.
        """
        return push(self.folder, name, self.card(name, images), private)

    def _section(self, task: str) -> PairData | TaskData:
        """The section of the configuration that describes the images of a task."""
        if task not in ("retrieval", *TASKS):
            raise ConfigError(f"there is no task '{task}'; choose one of {', '.join(('retrieval', *TASKS))}")
        if task == "retrieval":
            return self.corpora.config.data.pairs
        check_trained(self.module, task, self.name)
        data: TaskData = getattr(self.corpora.config.data, TASKS[task].texts)
        return data

    def _settings(self, task: str) -> tuple[object, ...]:
        data = self._section(task)
        return (data.image_size, data.segmenter, data.weights, data.segments, data.fill)

    def _segmenter(self, task: str, categories: Sequence[Category]) -> Segmenter:
        data = self._section(task)
        if data.segmenter == "ground-truth" and not categories and self.config.graph.regions != "patches":
            tell(
                f"{self.name} was trained on annotated segments (ground-truth): images without annotation are cut into "
                "superpixels; load(..., segmenter=...) chooses another segmenter"
            )
            data = replace(data, segmenter="superpixels")
        return self.corpora.segmenter(data, categories)


def with_segmenter(config: Config, segmenter: str | None, weights: str | None) -> Config:
    """A configuration whose images are cut by another segmenter, or by one with other weights.

    Raises:
        ConfigError: there is none of this name, or it needs weights.
    """
    chosen = {"segmenter": segmenter, "weights": weights}
    changed = {key: value for key, value in chosen.items() if value is not None}
    if not changed:
        return config
    sections = ["pairs", *(TASKS[task].texts for task in config.finetune.tasks)]
    data = {name: replace(getattr(config.data, name), **changed) for name in sections}
    return replace(config, data=replace(config.data, **data))


def only(found: list[Answer], what: str) -> Answer:
    """The one answer to one question about one image.

    Raises:
        DataError: there are several: a folder was given.
    """
    if len(found) != 1:
        raise DataError(f"there are {len(found)} {what}")
    return found[0]
