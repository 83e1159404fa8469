"""GSHN: scene graphs and texts in, embeddings, fused states and answers out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from gshn.backbone_names import TRAINED
from gshn.backbones.base import FrozenBackbone
from gshn.backbones.choose import make_backbone
from gshn.backbones.small_conv import SmallConvNet
from gshn.config import Config, ModelConfig, load_config, to_yaml
from gshn.data.tasks import TASKS
from gshn.encoders.alignment import AlignmentHead, Embeddings, attended, similarity
from gshn.encoders.answering import AnswerHead
from gshn.encoders.chunks import graphs_in_chunks, texts_in_chunks
from gshn.encoders.fusion import FusionTransformer
from gshn.encoders.hybrid import EncodedGraphs, HybridEncoder, NodeInputs
from gshn.encoders.nodes import NodeEmbedding
from gshn.encoders.padding import Padded, node_mask_of, non_empty, pad_nodes
from gshn.encoders.pointing import Pointers
from gshn.encoders.pooled import PooledEncoder
from gshn.encoders.spiked_text import SpikedTextLearning
from gshn.encoders.spikformer import SpikformerEncoder
from gshn.encoders.spiking import SpikeTrains
from gshn.encoders.tails import TunedFeatures
from gshn.encoders.text import SPECIAL_TOKENS, Architecture, EncodedTexts, TransformersText, wrap_tokenizer
from gshn.encoders.text_encoders import build_text_encoder
from gshn.encoders.transformer import TransformerEncoder
from gshn.errors import CheckpointError, ConfigError, DataError
from gshn.graphs.region_features import COLOUR_DIM, region_features
from gshn.graphs.scene_graph import CENTROID, EDGE_GEOMETRY, SceneGraph
from gshn.hub import checkpoint_folder
from gshn.registry import LOSSES
from gshn.segments.superpixels import REGION
from neuromorphic.files import write_atomically


@dataclass(frozen=True)
class Vocabulary:
    """The vocabularies that inputs and outputs of the model are indices in.

    Attributes:
        categories: Names of the segments' categories in all data sets of the run, with that of unlabelled regions.
        answers: Possible answers of each task, by the name of the task.
        words: Token ids that STL predicts: those that occur in training captions.
        feature_channels: Channels of the frozen backbone's segment features; 0 where the backbone is trained.
    """

    categories: list[str]
    answers: dict[str, list[str]]
    words: list[int]
    feature_channels: int


@dataclass(frozen=True)
class NodeTokens(Padded):
    """Inputs of fusion and of the pointers for B images.

    Attributes:
        nodes: V', shape (B, S, C).
        whole: The readout of each image, shape (B, C).
        centroid: Centroid (x, y) of each segment, in units of the image's width and height, shape (B, S, 2).
        spikes: Embedding of each segment by spiked text learning, shape (B, S, layers x C); None without it.
    """

    nodes: Tensor
    whole: Tensor
    centroid: Tensor
    spikes: Tensor | None

    @classmethod
    def none(cls, whole: Tensor) -> NodeTokens:
        """Inputs without segments, S = 0, for readouts of shape (B, C)."""
        parts = whole.new_zeros(len(whole), 0, whole.shape[1])
        return cls(parts[..., 0] > 0, parts, whole, parts[..., :2], None)


WEIGHTS = ("weight", "bias")
"""Parameters of a linear layer."""

Encoder = HybridEncoder | TransformerEncoder | SpikformerEncoder | PooledEncoder


def build_encoder(config: ModelConfig) -> Encoder:
    """The encoder of scene graphs that the configuration names."""
    if config.encoder == "hybrid":
        return HybridEncoder(config, len(EDGE_GEOMETRY))
    if config.encoder == "pooled":
        return PooledEncoder(config)
    return TransformerEncoder(config) if config.encoder == "transformer" else SpikformerEncoder(config)


class GSHN(nn.Module):
    """The Graph Spiking Hybrid Network (arXiv:2501.19069).

    Saved and loaded the hub way, by :meth:`save_pretrained` and :meth:`from_pretrained`.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        tokenizer: PreTrainedTokenizerFast,
        architecture: Architecture | None = None,
    ):
        """Build the model.

        Args:
            config: The run's configuration.
            vocabulary: Categories, answers and words.
            tokenizer: Tokenizer of the text encoder.
            architecture: Architecture of a pretrained text encoder whose weights come from a checkpoint. None: its own
                weights are read.

        Raises:
            ConfigError: the text encoder cannot be used, or has no token for what masked language modelling hides.
        """
        super().__init__()
        self.config, self.vocabulary, self.tokenizer = config, vocabulary, tokenizer
        m = config.model
        self.backbone = SmallConvNet(levels=config.graph.levels) if config.graph.backbone == TRAINED else None
        self.tuned_features: TunedFeatures | None = None
        if blocks := config.graph.tuned_blocks:
            g = config.graph
            whole = make_backbone(g.backbone, g.levels, mirror=g.mirror, tuned=blocks)
            assert isinstance(whole, FrozenBackbone)
            self.tuned_features = TunedFeatures(whole.tails())
        features = vocabulary.feature_channels if self.backbone is None else COLOUR_DIM + self.backbone.dim
        categories = vocabulary.categories
        pre = m.residual == "pre"
        self.node_embedding = NodeEmbedding(
            features, len(categories), m.width, categories.index(REGION.name), m.category_dropout, m.feature_noise, pre
        )
        self.encoder = build_encoder(m)
        if config.objectives.reads("masked") and tokenizer.mask_token is None:
            losses = " ".join(
                f"objectives.{name}=0" for name in config.objectives.on() if "masked" in LOSSES[name].traits.reads
            )
            raise ConfigError(
                f"the tokenizer of text encoder {m.text.encoder} has no token to mask a word with: set {losses}"
            )
        self.text = build_text_encoder(m, tokenizer, architecture)
        self.image_head = AlignmentHead(m.width, m.width, linear=not pre)
        self.text_head = AlignmentHead(m.width, m.width, m.text.hidden, m.hidden_dropout)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as in CLIP
        if m.similarity == "attention":
            self.attention_scale = nn.Parameter(torch.tensor(10.0))
        self.fusion = FusionTransformer(m.width, m.text.heads, m.fusion_layers, m.dropout)
        codes = 2 if self.encoder.spiking is not None and config.objectives.stl_contrast else 1
        self.found = nn.Linear(codes, m.width)
        self.pointers = Pointers(m.width, codes)
        wholes = m.evidence == "whole"
        channels = 3 * m.width if wholes else m.width + self.pointers.channels
        self.matching_head = nn.Linear(channels, 2)
        self.language_head = nn.Linear(m.width, len(tokenizer))
        dropout = m.hidden_dropout if wholes else m.dropout
        self.answer_heads = nn.ModuleDict(
            {
                task: AnswerHead(TASKS[task].images, channels, m.width, len(answers), dropout)
                for task, answers in vocabulary.answers.items()
            }
        )
        self.stl: SpikedTextLearning | None = None
        if self.encoder.spiking is not None:
            spiking = self.encoder.spiking
            self.stl = SpikedTextLearning(
                self.text.word_channels if m.spiking.text == "words" else m.width,
                m.spiking.width or m.width,
                len(spiking.linears),
                len(vocabulary.words),
                spiking.steps,
                spiking.neuron,
            )

    def __repr__(self) -> str:
        parameters, frozen = (
            sum(p.numel() for p in self.parameters() if not (frozen and p.requires_grad)) for frozen in (False, True)
        )
        held = f", of which {frozen / 1e6:.2f} M are frozen" if frozen else ""
        return f"GSHN({parameters / 1e6:.2f} M parameters{held}, width {self.config.model.width})"

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters with pretrained values: those of a pretrained text encoder, and of a backbone's last layers."""
        pretrained = [] if self.tuned_features is None else [*self.tuned_features.parameters()]
        if self.text.architecture is not None:
            assert isinstance(self.text, TransformersText)
            pretrained += self.text.bert.parameters()
        return [p for p in pretrained if p.requires_grad]

    def node_inputs(self, graphs: SceneGraph, identity: Tensor | None = None, chunk: int | None = None) -> NodeInputs:
        """Embed the nodes of a batch of scene graphs; arguments as of :meth:`encode_graphs`.

        Raises:
            DataError: ``graph.tune`` asks for maps, and the graphs have none.
        """
        if self.backbone is not None:
            whole, bilinear = graphs.get("whole"), self.config.graph.pooling == "bilinear"
            pixels = graphs.pixels()
            features = region_features(
                self.backbone(graphs.image), graphs.image, pixels, graphs.num_nodes, whole, bilinear
            )
        elif self.tuned_features is not None:
            if "maps" not in graphs:
                raise DataError(
                    f"graph.tune is {self.config.graph.tune}, but these graphs have no maps to train on: make them "
                    "again, with the same graph.tune"
                )
            features = torch.cat([graphs.x[:, :COLOUR_DIM], self.tuned_features(graphs, chunk)], dim=1)
        else:
            features = graphs.x
        x = self.node_embedding(features, graphs.category, graphs.geometry, graphs.batch, graphs.num_graphs, identity)
        return NodeInputs(
            x,
            graphs.edge_index,
            graphs.edge_attr,
            graphs.batch,
            graphs.num_graphs,
            graphs.geometry[:, CENTROID],
            graphs.get("whole"),
        )

    def encode_graphs(
        self,
        graphs: SceneGraph,
        spikes: SpikeTrains | None = None,
        chunk: int | None = None,
        identity: Tensor | None = None,
    ) -> EncodedGraphs:
        """Encode a batch of scene graphs.

        Args:
            graphs: B scene graphs.
            spikes: Those that another simulator computed.
            chunk: Number of graphs that are encoded at a time, see :mod:`gshn.encoders.chunks`; not with ``spikes``.
            identity: Identity of each graph, shape (B,), where several processes may have the same graphs.
        """
        inputs = self.node_inputs(graphs, identity, chunk)
        return self.encoder(inputs, spikes) if chunk is None else graphs_in_chunks(self.encoder, inputs, chunk)

    def encode_text(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        states: Tensor | None = None,
        tokens: bool = True,
        chunk: int | None = None,
    ) -> EncodedTexts:
        """Encode texts, see :meth:`gshn.encoders.text.TextEncoder.forward`; ``chunk``: as in :meth:`encode_graphs`."""
        if chunk is not None:
            return texts_in_chunks(self.text, input_ids, attention_mask, states, tokens, chunk)
        texts: EncodedTexts = self.text(input_ids, attention_mask, states, tokens)
        return texts

    def node_tokens(self, encoded: EncodedGraphs) -> NodeTokens:
        """Inputs of fusion for encoded scene graphs."""
        own = node_mask_of(encoded.batch, encoded.num_graphs)
        nodes, whole, centroid = pad_nodes(encoded.nodes, own), encoded.readout, pad_nodes(encoded.centroid, own)
        if (stl := self.spike_embeddings) is None or encoded.spikes is None:
            return NodeTokens(non_empty(own), nodes, whole, centroid, None)
        return NodeTokens(non_empty(own), nodes, whole, centroid, stl.parts(encoded.spikes.code.float(), own))

    def embed_images(self, encoded: EncodedGraphs) -> Embeddings:
        """Embeddings of encoded scene graphs."""
        if self.with_parts:
            own = node_mask_of(encoded.batch, encoded.num_graphs)
            out: Embeddings = self.image_head(encoded.readout, pad_nodes(encoded.nodes, own), non_empty(own))
        elif self.config.model.similarity == "attention":
            out = self.attended_segments(encoded)
        else:
            out = Embeddings.of_wholes(self.image_head.of_wholes(encoded.readout))
        if (stl := self.spike_embeddings) is None or encoded.spikes is None:
            return out
        spikes = stl.embed_images(
            encoded.spikes.code, encoded.batch, encoded.num_graphs, encoded.whole, self.with_parts
        )
        return replace(out, spikes=spikes)

    def attended_segments(self, encoded: EncodedGraphs) -> Embeddings:
        """Embeddings for ``model.similarity=attention``: V' of the whole image, F_GAT of each segment, in one space.

        The segments' embeddings are without E_SNN, which overfits on photographs (docs/photographs.md). The node of the
        whole image is no segment, unless it is the only node.
        """
        own = node_mask_of(encoded.batch, encoded.num_graphs)
        mask = non_empty(own)
        if encoded.whole is not None:
            segments = pad_nodes(~encoded.whole, own)
            mask = mask & (segments | ~segments.any(dim=1, keepdim=True))
        nodes = encoded.nodes if encoded.continuous is None else encoded.continuous
        parts = pad_nodes(self.image_head.of_wholes(nodes), own)
        return Embeddings(self.image_head.of_wholes(encoded.readout), parts * mask[..., None], mask)

    def embed_texts(self, texts: EncodedTexts) -> Embeddings:
        """Embeddings of texts: one for the whole text, from its pooled state, and one for each token."""
        if self.with_parts:
            out: Embeddings = self.text_head(texts.whole, texts.hidden, texts.mask)
        else:
            out = Embeddings.of_wholes(self.text_head.of_wholes(texts.whole))
        if (stl := self.spike_embeddings) is None:
            return out
        return replace(out, spikes=stl.embed_texts(*self.spiking_text(texts), self.with_parts))

    def spiking_text(self, texts: EncodedTexts) -> tuple[Tensor, Tensor]:
        """Inputs of spiked text learning's neurons, shape (B, L, W), and their mask, shape (B, L).

        They are dictionary entries of the tokens, or the state of the whole text with L = 1: ``model.spiking.text``.
        """
        if self.config.model.spiking.text == "words":
            assert texts.words is not None
            return texts.words, texts.mask
        whole = F.layer_norm(texts.whole, texts.whole.shape[-1:])[:, None]
        return whole, torch.ones_like(texts.mask[:, :1])

    @property
    def spike_embeddings(self) -> SpikedTextLearning | None:
        """The module that embeds images and texts by spikes; None where it was not trained."""
        return self.stl if self.config.objectives.stl_contrast else None

    @property
    def with_parts(self) -> bool:
        """Whether retrieval also compares segments with words."""
        return self.config.model.similarity == "parts"

    def alignment(self, texts: Embeddings, images: Embeddings) -> Tensor:
        """Similarity of texts and images by V', shape (texts, images), as ``model.similarity`` says.

        parts: :func:`gshn.encoders.alignment.similarity`; whole: W = <w_t, w_i>; attention: (1 - w) W + w A with A of
        :func:`gshn.encoders.alignment.attended` and w = ``model.part_weight``.
        """
        out = similarity(texts, images, self.with_parts)
        if self.config.model.similarity != "attention":
            return out
        w = self.config.model.part_weight
        return (1 - w) * out + w * attended(texts, images, self.attention_scale)

    def spike_alignment(self, texts: Embeddings, images: Embeddings) -> Tensor:
        """Similarity of texts and images by spikes, shape (texts, images); with ``attention`` that of wholes alone."""
        assert texts.spikes is not None and images.spikes is not None
        return similarity(texts.spikes, images.spikes, self.with_parts)

    def similarity(self, texts: Embeddings, images: Embeddings) -> Tensor:
        """Similarity of texts and images that retrieval ranks by, shape (texts, images), in [-1, 1].

        S = (S_V' + w S_spikes) / (1 + w), with w of :meth:`spike_weight`. Without spiked text learning S = S_V'.
        """
        s = self.alignment(texts, images)
        if texts.spikes is None or images.spikes is None or self.stl is None:
            return s
        w = self.spike_weight()
        return (s + w * self.spike_alignment(texts, images)) / (1 + w)

    def similarity_scale(self) -> Tensor:
        """Factor from :meth:`similarity` to logits: (1 + w) times the inverse temperature of the contrast by V'."""
        return self.scale() * (1 + self.spike_weight())

    def spike_weight(self) -> Tensor:
        """w of :meth:`similarity`, a scalar; 0 without spiked text learning.

        It is ``model.spike_weight``, or the ratio of the inverse temperatures of both contrasts. Then the logits of
        both are added.
        """
        if (stl := self.spike_embeddings) is None:
            return torch.zeros_like(self.logit_scale)
        given = self.config.model.spike_weight
        return stl.scale() / self.scale() if given is None else torch.full_like(self.logit_scale, given)

    def scale(self) -> Tensor:
        """Inverse temperature of the contrastive loss, a scalar, at most 100."""
        return self.logit_scale.clamp(max=4.6052).exp()

    def part_similarities(self, texts: EncodedTexts, images: NodeTokens) -> Tensor:
        """Similarity of each token and each segment, by the embeddings of the contrastive losses.

        similarity[a, s] = (<p_a, p_s>, <c_a, c_s>), with p the embeddings by V' and c those by spikes. Without spiked
        text learning there is no c.

        Args:
            texts: B texts.
            images: The image of each text.

        Returns:
            Shape (B, L, S, number of codes).
        """
        tokens = self.text_head.of_parts(texts.hidden, texts.mask)
        segments = self.image_head.of_parts(images.nodes, images.mask)
        compared = [(tokens, segments)]
        if (stl := self.spike_embeddings) is not None and images.spikes is not None:
            driving, mask = self.spiking_text(texts)
            compared.append((stl.parts(stl.text_spikes(driving[mask]), mask), images.spikes))
        # Where the whole text has one code, it is every token's.
        similarities = [torch.einsum("bac,bsc->bas", a, s).expand(-1, tokens.shape[1], -1) for a, s in compared]
        return torch.stack(similarities, dim=-1)

    def fuse(self, texts: EncodedTexts, images: NodeTokens, similarity: Tensor | None = None) -> Tensor:
        """Fuse texts with images by :class:`FusionTransformer`.

        Its text input is text[a] = hidden[a] + W max_s similarity[a, s] + b: each token starts with its largest
        similarities to a segment.

        Args:
            texts: B texts.
            images: The image of each text.
            similarity: :meth:`part_similarities` of the two. None: they are computed.

        Returns:
            Fused states, shape (B, L, C).
        """
        similarity = self.part_similarities(texts, images) if similarity is None else similarity
        best = similarity.masked_fill(~images.mask[:, None, :, None], -1.0).amax(dim=2)
        hidden = texts.hidden + self.found(best)
        fused: Tensor = self.fusion(hidden, texts.mask, images.nodes, images.mask)
        return fused

    def evidence(self, texts: EncodedTexts, images: NodeTokens) -> Tensor:
        """Inputs of the answer heads and of the matching head, as ``model.evidence`` says.

        parts: the fused state of [CLS], and the outputs of :class:`Pointers`. whole: [LayerNorm(t), LayerNorm(v),
        sqrt(C) w_t * w_v], with t the state of the whole text, v the readout of the image, and w the unit vectors of
        both that retrieval compares. The norms have no weights, so all three parts have the same scale.

        Args:
            texts: B texts.
            images: The image of each text.

        Returns:
            Shape (B, C + channels of the pointers), or (B, 3 C).
        """
        if self.config.model.evidence == "whole":
            channels = texts.whole.shape[1:]
            both = self.text_head.of_wholes(texts.whole) * self.image_head.of_wholes(images.whole)
            alone = [F.layer_norm(whole, channels) for whole in (texts.whole, images.whole)]
            return torch.cat([*alone, channels[0] ** 0.5 * both], dim=1)
        similarity = self.part_similarities(texts, images)
        found = self.pointers(texts.hidden, texts.mask, similarity, images.nodes, images.centroid, images.mask)
        return torch.cat([self.fuse(texts, images, similarity)[:, 0], found], dim=1)

    def matching(self, texts: EncodedTexts, images: NodeTokens) -> Tensor:
        """Logits of no match and of a match of each text and its image, shape (B, 2), from :meth:`evidence`."""
        logits: Tensor = self.matching_head(self.evidence(texts, images))
        return logits

    def answer(self, task: str, images: NodeTokens, texts: EncodedTexts, image: Tensor) -> Tensor:
        """Answer the texts of a task by its :class:`AnswerHead`, from the :meth:`evidence` of each text's K images.

        Args:
            task: Name of the task.
            images: I images.
            texts: B texts.
            image: Indices of each text's images, shape (B, K).

        Returns:
            Logits over ``vocabulary.answers[task]``, shape (B, A).
        """
        # Both images of a pair in one call.
        evidence = self.evidence(EncodedTexts.cat([texts] * image.shape[1]), images[image.T.flatten()])
        logits: Tensor = self.answer_heads[task](evidence.reshape(*image.T.shape, -1).transpose(0, 1))
        return logits

    def vocabulary_rows(self) -> dict[str, list[str]]:
        """For each tensor of the state dict whose rows belong to a vocabulary: the names of the entries, in order."""
        tokens = [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))]
        dictionary = next(name for name, p in self.named_parameters() if p is self.text.dictionary.weight)
        rows = dict.fromkeys((dictionary, "language_head.weight", "language_head.bias"), tokens)
        rows["node_embedding.category.weight"] = self.vocabulary.categories
        for task, answers in self.vocabulary.answers.items():
            head = self.answer_heads[task]
            assert isinstance(head, AnswerHead)
            rows |= dict.fromkeys((f"answer_heads.{task}.answer.{len(head.answer) - 1}.{p}" for p in WEIGHTS), answers)
        if self.stl is not None:
            words = [tokens[word] for word in self.vocabulary.words]
            rows |= dict.fromkeys((f"stl.words.{len(self.stl.words) - 1}.{p}" for p in WEIGHTS), words)
        return rows

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.yaml``, ``vocabulary.json``, ``tokenizer.json`` and ``model.safetensors`` to a folder.

        With a pretrained text encoder also ``text_config.json``, so that its own files are not needed again.

        Args:
            folder: The folder.
            dtype: Type that floating-point tensors are rounded to, such as ``torch.float16`` for half the size. None:
                no rounding. A loaded model computes in float32 either way.

        Raises:
            CheckpointError: a tensor is not finite.
        """
        folder = Path(folder)
        tensors = storable(self.state_dict())
        if dtype is not None:
            tensors = {name: own.to(dtype) if own.is_floating_point() else own for name, own in tensors.items()}
        if wrong := not_finite(tensors):
            raise CheckpointError(f"{wrong}: nothing is written to {folder}; train again, with a lower lr")
        write_atomically(folder / "config.yaml", to_yaml(self.config))
        write_atomically(folder / "vocabulary.json", json.dumps(asdict(self.vocabulary)))
        write_atomically(folder / "tokenizer.json", self.tokenizer.backend_tokenizer.to_str())
        if self.text.architecture is not None:
            write_atomically(folder / "text_config.json", json.dumps(asdict(self.text.architecture), indent=1))
        write_atomically(folder / "model.safetensors", save(tensors))

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> GSHN:
        """Load what :meth:`save_pretrained` wrote, in eval mode.

        Args:
            name: The folder, or a name on the hub: see :func:`gshn.hub.checkpoint_folder`.
            revision: Branch, tag or commit of a name on the hub.

        Raises:
            CheckpointError: a file is missing or broken, or does not fit the model, or a tensor is not finite.
        """
        folder = checkpoint_folder(name, revision)
        config = load_config(folder / "config.yaml")
        try:
            vocabulary = Vocabulary(**json.loads((folder / "vocabulary.json").read_text()))
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            # Not there of an encoder from scratch, nor of MiniLM in older checkpoints.
            told = folder / "text_config.json"
            architecture = Architecture(**json.loads(told.read_text())) if told.is_file() else None
        except Exception as error:  # tokenizers raises bare Exception
            raise CheckpointError(
                f"{folder} holds a broken vocabulary.json, tokenizer.json or text_config.json ({error}); train again"
            ) from None
        try:
            tensors = load_file(folder / "model.safetensors")
        except SafetensorError as error:
            raise CheckpointError(f"{folder / 'model.safetensors'} is broken ({error}); train again") from None
        if wrong := not_finite(tensors):
            raise CheckpointError(f"{folder / 'model.safetensors'}: {wrong}; train again, or name another checkpoint")
        length = config.model.text.max_length if architecture is None else architecture.max_length
        special = SPECIAL_TOKENS if architecture is None else architecture.special_tokens
        model = cls(config, vocabulary, wrap_tokenizer(tokenizer, length, special), architecture)
        load_tensors(model, tensors, folder / "model.safetensors")
        return model.eval()


def load_tensors(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load a state dict whose names and shapes must be the model's.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; the message names the first.
    """
    own = model.state_dict()
    mend = "it is of a model of another shape or version: use the config.yaml that it was trained with, or train again"
    for name in own.keys() | tensors.keys():
        if name not in tensors or name not in own:
            where = "missing in" if name not in tensors else "unknown to the model but in"
            raise CheckpointError(f"tensor '{name}' is {where} {source}; {mend}")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, the model's {tuple(own[name].shape)}"
            raise CheckpointError(f"tensor '{name}' in {source} has shape {shapes}; {mend}")
    model.load_state_dict(tensors)


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in the form that safetensors needs: on the CPU, contiguous, and copied where several names share one."""
    out: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        out[name] = own.clone() if own.data_ptr() in places else own
        places.add(own.data_ptr())
    return out


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """A message about the first tensor that is not finite; None if all are finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (wrong := int((~tensor.isfinite()).sum())):
            return f"tensor '{name}' has {wrong} of {tensor.numel()} values that are not finite"
    return None
