"""What a frozen text encoder says of texts: computed once for each, kept on disk, and read as batches need it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from gshn.encoders.text import FrozenText, tokenize
from gshn.errors import TrainingError
from gshn.inference import TEXTS_PER_BATCH, device_of
from gshn.model import GSHN
from neuromorphic.files import Lock, file_digest, make_folder, write_atomically

logger = logging.getLogger(__name__)

TOKENS_PER_FILE = 2**16
"""What a killed run has to compute again at most; 50 MB of MiniLM's states."""


def text_identities(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """A digest of the tokens of each text, independent of padding: shape (B, L) -> (B,), int64."""
    texts = [ids[mask.bool()].numpy() for ids, mask in zip(input_ids, attention_mask, strict=True)]
    digests = [int.from_bytes(blake2b(ids, digest_size=8).digest(), "little", signed=True) for ids in texts]
    return torch.tensor(digests, dtype=torch.long)


class TextStates:
    """States of texts on disk, by :func:`text_identities`. Files are mapped into memory.

    ``NAME.npy`` has the states of many texts one after the other, shape (tokens, W), float16. ``NAME.npz`` has the
    identities of the texts, their numbers of tokens, and the digest of ``NAME.npy``. It is written last.

    Args:
        folder: Folder of the files. A broken file is removed, with a warning.
        channels: W, channels of a state.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        self.folder, self.channels = folder, channels
        self._of: dict[int, NDArray[np.float16]] = {}
        for path in sorted(folder.glob("*.npz")):
            try:
                self._read(path)
            except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
                logger.warning("%s is broken and will be computed again (%s)", path.with_suffix(".npy"), error)
                path.unlink(missing_ok=True)

    def __contains__(self, identity: int) -> bool:
        return identity in self._of

    def _read(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as index:
            identities, lengths, digest = index["identities"], index["lengths"], str(index["digest"])
        stored = path.with_suffix(".npy")
        states = np.asarray(np.load(stored, mmap_mode="r", allow_pickle=False))
        if file_digest(stored) != digest or states.shape != (lengths.sum(), self.channels):
            raise ValueError("its digest or its shape does not match")
        self._of |= zip(identities.tolist(), np.split(states, lengths.cumsum()[:-1]), strict=True)

    def add(self, identities: Sequence[int], lengths: Sequence[int], states: NDArray[np.float16]) -> None:
        """Keep the states of some texts, one after the other, shape (sum of lengths, W).

        Raises:
            UserError: the folder cannot be written to.
        """
        numbers = np.asarray(identities, dtype=np.int64)
        path = self.folder / f"{blake2b(numbers.tobytes(), digest_size=16).hexdigest()}.npy"
        np.save(content := BytesIO(), states, allow_pickle=False)
        write_atomically(path, content.getvalue())
        np.savez(index := BytesIO(), identities=numbers, lengths=np.asarray(lengths), digest=file_digest(path))
        write_atomically(path.with_suffix(".npz"), index.getvalue())
        self._read(path.with_suffix(".npz"))

    def of(self, identities: Tensor, length: int) -> Tensor:
        """States of B texts, padded with zeros: shape (B, length, W), float16.

        Raises:
            KeyError: the states of a text are missing.
        """
        out = np.zeros((len(identities), length, self.channels), dtype=np.float16)
        for row, identity in zip(out, identities.tolist(), strict=True):
            own = self._of[identity]
            row[: len(own)] = own
        return torch.from_numpy(out)


def text_states(model: GSHN, texts: Iterable[str], cache: Path) -> TextStates | None:
    """States of texts by a model's frozen text encoder. Those that are not in the cache are computed first.

    A state depends on the token ids of its text and on the weights of the encoder, whose digest is the folder's name.
    If another process is filling the same cache, this waits for it.

    Args:
        model: The model.
        texts: The texts; not read if the encoder is not frozen.
        cache: Folder of all caches; made if missing.

    Returns:
        The states; None if the encoder is not frozen.

    Raises:
        UserError: the cache cannot be written, or a state is too large for float16.
    """
    encoder = model.text
    if not isinstance(encoder, FrozenText):
        return None
    folder = make_folder(cache / f"text-{_key(encoder)}")
    kept, wanted = TextStates(folder, encoder.channels), _distinct(model.tokenizer, texts)
    if any(identity not in kept for identity in wanted):
        with Lock(folder.with_suffix(".lock"), f"{folder} (states of texts)"):
            kept = TextStates(folder, encoder.channels)
            missing = {identity: ids for identity, ids in wanted.items() if identity not in kept}
            _compute(model, encoder, missing, kept)
    return kept


def _key(encoder: FrozenText) -> str:
    assert encoder.architecture is not None
    digest = blake2b(json.dumps(encoder.architecture.config, sort_keys=True).encode(), digest_size=16)
    tuned = {name for name, parameter in encoder.bert.named_parameters() if parameter.requires_grad}
    for name, tensor in sorted(encoder.bert.state_dict().items()):
        if name in tuned:
            continue
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _distinct(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> dict[int, NDArray[np.int32]]:
    """Token ids of texts by their identity, each once."""
    found: dict[int, NDArray[np.int32]] = {}
    rest = iter(texts)
    while some := list(islice(rest, 1024)):
        input_ids, mask = tokenize(tokenizer, some)
        for identity, ids, own in zip(text_identities(input_ids, mask).tolist(), input_ids, mask.bool(), strict=True):
            if identity not in found:
                found[identity] = ids[own].numpy().astype(np.int32)
    return found


def _compute(model: GSHN, encoder: FrozenText, texts: Mapping[int, NDArray[np.int32]], kept: TextStates) -> None:
    """Compute and keep states. Texts of similar length are computed together, as padding costs as much as tokens."""
    device, pad = device_of(model), model.tokenizer.pad_token_id
    order = sorted(texts, key=lambda identity: (len(texts[identity]), identity))
    with tqdm(total=len(order), desc="encode texts", unit=" texts", leave=False) as bar:
        for file in _files(order, texts):
            parts: list[NDArray[np.float16]] = []
            for start in range(0, len(file), TEXTS_PER_BATCH):
                own = [torch.from_numpy(texts[identity]).long() for identity in file[start : start + TEXTS_PER_BATCH]]
                ids = pad_sequence(own, batch_first=True, padding_value=pad)
                mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in own])[:, None]
                parts.append(encoder.states(ids.to(device), mask.to(device)).half().cpu()[mask].numpy())
                bar.update(len(own))
            states = np.concatenate(parts)
            if not np.isfinite(states).all():
                raise TrainingError(
                    f"the states of text encoder {model.config.model.text.encoder} are too large for float16, or not "
                    "finite: set model.text.tune=all, or choose another encoder"
                )
            kept.add(file, [len(texts[identity]) for identity in file], states)


def _files(order: Sequence[int], texts: Mapping[int, NDArray[np.int32]]) -> Iterator[list[int]]:
    """Texts of each file: as many as have :data:`TOKENS_PER_FILE` tokens together, at least one."""
    file: list[int] = []
    tokens = 0
    for identity in order:
        file.append(identity)
        tokens += len(texts[identity])
        if tokens >= TOKENS_PER_FILE:
            yield file
            file, tokens = [], 0
    if file:
        yield file
