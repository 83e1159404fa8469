"""Checkpoints by name: folders, those that ship with the package, and the Hugging Face hub, from there and to there.

What all that read models of transformers share is here, too.

``huggingface_hub.ModelHubMixin`` is not used. It would write a second configuration, ``config.json``, beside
``config.yaml``; it writes files in place, where a reader can see half of one; and it pushes a fresh copy of the weights
without the run's figures and model card. A checkpoint is a folder, so folders are what is pushed and fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gshn.errors import CheckpointError
from neuromorphic.errors import UserError, first_line

NEEDED = ("config.yaml", "vocabulary.json", "tokenizer.json", "model.safetensors")
"""Files that every checkpoint has."""
FILES = (*NEEDED, "text_config.json", "metrics.json", "README.md")
"""Files of a checkpoint that are pushed and fetched; a run's training state and logs are not among them."""

SHIPPED = Path(__file__).parent / "checkpoints"
"""A folder for each checkpoint that ships with the package."""

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def shipped() -> list[str]:
    """Names of the checkpoints that ship with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.safetensors"))


def checkpoint_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint: itself, one of the package, or a copy of one on the hub, in the hub's own cache.

    Args:
        name: A folder that ``gshn.train`` wrote; one of :func:`shipped`, such as ``tour``; or ``owner/name`` on the
            hub. Where a folder of this name exists, it counts.
        revision: Branch, tag or commit of a name on the hub.

    Raises:
        CheckpointError: it is neither, the hub cannot be reached, or a file is missing.
    """
    folder = Path(name)
    if not folder.is_dir() and str(name) in shipped():
        folder = SHIPPED / name
    if not folder.is_dir():
        if not _NAME.fullmatch(str(name)):
            raise CheckpointError(
                f"checkpoint {name} is not a folder; name the one that gshn.train wrote (--out), "
                f"{' or '.join(shipped())}, which comes with the package, or owner/name on the Hugging Face hub"
            )
        folder = _fetch(str(name), revision)
    elif revision is not None:
        raise CheckpointError(f"checkpoint {name} is a folder: it has no revision {revision}; leave that out")
    for file in NEEDED:
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder / file} is missing; name the folder that gshn.train wrote (--out)")
    return folder


def _fetch(name: str, revision: str | None) -> Path:
    import huggingface_hub  # late: a folder needs none of it

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # of the network, the hub, or a name that it does not take
        raise CheckpointError(
            f"checkpoint {name} is neither a folder here nor can it be had from the Hugging Face hub "
            f"({first_line(error)}); check the name, or go online"
        ) from None


def push(folder: Path, name: str, card: str, private: bool | None = None) -> str:
    """Upload a checkpoint to the hub in one commit, into a repository that is made where there is none.

    Args:
        folder: The checkpoint.
        name: ``owner/name``, or ``name`` of one's own account.
        card: The model card, in place of the folder's README.md.
        private: Whether a repository that is made is private; None: as the account has it.

    Returns:
        Address of the commit.

    Raises:
        UserError: the hub refused, or cannot be reached.
    """
    import huggingface_hub  # late, as above

    files: dict[str, Path | bytes] = {file: folder / file for file in FILES if (folder / file).is_file()}
    files["README.md"] = card.encode()
    operations = [huggingface_hub.CommitOperationAdd(file, content) for file, content in files.items()]
    api = huggingface_hub.HfApi(library_name="gshn")
    try:
        repository = api.create_repo(name, private=private, exist_ok=True).repo_id
        return str(api.create_commit(repository, operations, commit_message="A checkpoint of GSHN").commit_url)
    except Exception as error:  # of the network, the hub, or a name that it does not take
        raise UserError(
            f"{folder} could not be pushed to {name} ({first_line(error)}); log in with `hf auth login`, and check the "
            "name"
        ) from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Switch off progress bars and warnings of transformers."""
    from transformers.utils import logging as transformers_logging  # late: it takes seconds to import

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
