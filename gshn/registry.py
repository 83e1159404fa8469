"""Kinds of one thing, each in a file of its own: data sets, segmenters, backbones, neurons, text encoders, losses.

A module says in ``KINDS`` what its kinds are called in a configuration, and what has to be known of each before
anything is imported:

    KINDS = {"lif": {"spikes": True, "rates": True, "help": "leaky integrate-and-fire"}}

This is a literal, and is read from the source: a slip in a configuration costs no wait for PyTorch. A kind is called
``NAME``, ``NAME:WHAT`` where something follows, or ``NAME[:WHAT]`` where something may. And the module has a function,
``make`` mostly, that is given the whole text of the configuration first. docs/extending.md has an example of each.

Kinds are found in a folder of this package, and in the modules that other packages name by entry points:

    [project.entry-points."gshn.neurons"]
    adaptive = "my_package.adaptive"
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from gshn.errors import ConfigError, tell

ROOT = Path(__file__).parent
CONSTANT = "KINDS"
FORM = re.compile(r"([\w.-]+)(?:(\[?):([\w.-]+)\]?)?")
"""Of a kind's name: NAME, NAME:WHAT or NAME[:WHAT]."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is known of a kind before its module is imported.

    Attributes:
        help: What it is, for the help of commands.
    """

    help: str = ""

    def __post_init__(self) -> None:
        """Check the values' types: another package may have written anything."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if kind in (str, bool, int, float) and not isinstance(value, (int, float) if kind is float else kind):
                raise TypeError(f"{name} is {value!r}, no {kind.__name__}")


@dataclass(frozen=True, kw_only=True)
class DatasetTraits(Traits):
    """Traits of a data set.

    Attributes:
        drawn: Its images are drawn, with their segments. Their number is unlimited, so a configuration has to give one.
    """

    drawn: bool = False


@dataclass(frozen=True, kw_only=True)
class SegmenterTraits(Traits):
    """Traits of a segmenter.

    Attributes:
        learned: It has weights, which have to be named.
    """

    learned: bool = False


@dataclass(frozen=True, kw_only=True)
class NeuronTraits(Traits):
    """Traits of a neuron of the discrete path.

    Attributes:
        spikes: Its outputs are spikes, over two steps or more; else activations, of one step.
        rates: Its outputs lie in [0, 1], so that their mean is a firing rate.
    """

    spikes: bool
    rates: bool


@dataclass(frozen=True, kw_only=True)
class TextEncoderTraits(Traits):
    """Traits of a text encoder.

    Attributes:
        pretrained: It has weights from an earlier training.
    """

    pretrained: bool


NEEDS = ("", "discrete", "spikes", "rates")
"""What a loss may need."""


@dataclass(frozen=True, kw_only=True)
class LossTraits(Traits):
    """Traits of a pretraining loss, whose weight is ``objectives.NAME``.

    Attributes:
        weight: Default weight; 0 for a loss of another package, so that installing one changes no configuration.
        order: Losses are computed in this order, on which the rounding of gradients depends.
        needs: ``discrete`` where the model must have a discrete path, ``spikes`` where that has to spike, ``rates``
            where its means have to be firing rates.
        reads: What has to be computed for it: ``tokens``, states of the captions' tokens; ``words``, which words the
            captions have; ``masked``, captions with masked tokens.
        options: Further keys ``objectives.KEY``, all of them numbers: what :func:`gshn.config.number` takes, by name.
    """

    weight: float = 0.0
    order: int = 100
    needs: str = ""
    reads: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check also what is needed, and the options."""
        super().__post_init__()
        if self.needs not in NEEDS:
            raise TypeError(f"needs is {self.needs!r}, none of {', '.join(map(repr, NEEDS))}")
        for key, option in self.options.items():
            if not {"default", "low", "high"} <= option.keys() <= {"default", "low", "high", "above", "below"}:
                raise TypeError(f"option {key} takes default, low and high, above and below")


T = TypeVar("T", bound=Traits)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind.

    Attributes:
        name: Up to the colon, where there is one.
        form: How it is written: NAME, NAME:WHAT or NAME[:WHAT].
        module: Its module.
        traits: What it declares.
        package: The other package that has it; None of this one.
    """

    name: str
    form: str
    module: str
    traits: T
    package: str | None = None

    def is_named_by(self, text: str) -> bool:
        """Whether a text of the configuration is this kind's name, with WHAT where the form wants it."""
        name, colon, what = text.partition(":")
        if name != self.name:
            return False
        return bool(what) and self.form != name if colon else self.form[len(name) :][:1] in ("", "[")


class Registry(Generic[T]):
    """All kinds of a thing, in order of their modules' names, those of other packages last.

    ``in`` tells whether a text of the configuration names one; iteration is over how they are written, so that a
    registry can be the ``choices`` of an argument.

    Attributes:
        what: What the kinds are, for messages.
        group: Group of entry points.
        folder: Folder of this package's modules.
        traits: What each declares.
    """

    def __init__(self, what: str, group: str, folder: str, traits: type[T]) -> None:
        self.what, self.group, self.folder, self.traits = what, group, folder, traits

    @cached_property
    def kinds(self) -> dict[str, Kind[T]]:
        """By name."""
        found: dict[str, Kind[T]] = {}
        folder = ROOT / self.folder
        for path in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found |= {kind.name: kind for kind in self._declared(path, module, None)}
        for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
            package = point.dist.name if point.dist else "a package"
            try:
                kinds = self._declared(_source(point), point.value, package)
            except (ConfigError, OSError, SyntaxError, ValueError, TypeError) as error:
                tell(f"{package}: entry point '{point.name}' of '{self.group}' is left out: {error}")
                continue
            for kind in kinds:
                if kind.name in found:
                    tell(f"{package}: {self.what} '{kind.name}' is left out: there is one of this name already")
                else:
                    found[kind.name] = kind
        return found

    def _declared(self, path: Path, module: str, package: str | None) -> list[Kind[T]]:
        kinds = []
        for form, traits in declared(path).items():
            if not (match := FORM.fullmatch(form)):
                raise ConfigError(f"{path}: '{form}' is none of NAME, NAME:WHAT and NAME[:WHAT]")
            try:
                kinds.append(Kind(match[1], form, module, self.traits(**traits), package))
            except (TypeError, AttributeError) as error:
                known = ", ".join(f.name for f in fields(self.traits))
                raise ConfigError(f"{path}: {CONSTANT}['{form}'] should have {known} ({error})") from None
        return kinds

    def __iter__(self) -> Iterator[str]:
        return (kind.form for kind in self.kinds.values())

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.get(text) is not None

    def get(self, text: str) -> Kind[T] | None:
        """The kind that a text of the configuration names; None where there is none."""
        kind = self.kinds.get(text.partition(":")[0])
        return kind if kind is not None and kind.is_named_by(text) else None

    def __getitem__(self, text: str) -> Kind[T]:
        """The kind that a text of the configuration names.

        Raises:
            ConfigError: there is none.
        """
        if (kind := self.get(text)) is None:
            raise ConfigError(f"there is no {self.what} '{text}'; choose one of {', '.join(self)}")
        return kind

    def function(self, text: str, name: str = "make") -> Callable[..., Any]:
        """A function of the module of the kind that a text names, which is imported now.

        Raises:
            ConfigError: there is no such kind, or another package's module cannot be imported or lacks the function.
        """
        kind = self[text]
        try:
            function: Callable[..., Any] = getattr(import_module(kind.module), name)
        except (ImportError, AttributeError) as error:
            if kind.package is None:
                raise
            raise ConfigError(f"{self.what} '{text}' of {kind.package} cannot be used: {error}") from None
        return function

    def help(self) -> str:
        """What each kind is, for argparse."""
        return "; ".join(f"{kind.form}: {kind.traits.help}" for kind in self.kinds.values()).replace("%", "%%")


def declared(path: Path) -> dict[str, dict[str, Any]]:
    """What a module declares as :data:`CONSTANT`, without importing it; nothing where it does not.

    Raises:
        ConfigError: it is of another form.
        ValueError: it is not a literal.
    """
    source = path.read_text(encoding="utf-8")
    for node in ast.parse(source).body if CONSTANT in source else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CONSTANT:
            value = ast.literal_eval(node.value)
            if not isinstance(value, dict) or not all(isinstance(traits, dict) for traits in value.values()):
                raise ConfigError(f"{path}: {CONSTANT} is not a dictionary of dictionaries")
            return value
    return {}


def _source(point: EntryPoint) -> Path:
    """The file of the module that an entry point names; of the packages around it, but not of it, the code is run.

    Raises:
        ConfigError: there is none, or it declares nothing.
    """
    try:
        spec = find_spec(point.value)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{point.value} cannot be found ({error})") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigError(f"there is no module {point.value}")
    if not declared(path := Path(spec.origin)):
        raise ConfigError(f"{path} has no {CONSTANT} = {{...}}")
    return path


Options = TypeVar("Options")


def options(text: str, kind: type[Options]) -> Options:
    """What follows the colon of NAME:KEY=VALUE,KEY=VALUE as a dataclass of numbers, texts and truth values.

    Args:
        text: The whole text of the configuration.
        kind: The dataclass; what is not named has its default.

    Raises:
        ConfigError: no such key, or a value of the wrong type; or ``kind`` raises a ValueError.
    """
    name, _, rest = text.partition(":")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in hints:
            raise ConfigError(f"'{text}': {name} has no option '{key}'; choose one of {', '.join(hints)}, as KEY=VALUE")
        try:
            values[key] = _TRUTH[value] if hints[key] is bool else hints[key](value)
        except (KeyError, ValueError):
            raise ConfigError(f"'{text}': {key}={value} is not of type {hints[key].__name__}") from None
    try:
        return kind(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"'{text}': {error}") from None


_TRUTH = {"true": True, "false": False}

DATASETS = Registry("data set", "gshn.datasets", "data", DatasetTraits)
SEGMENTERS = Registry("segmenter", "gshn.segmenters", "segments", SegmenterTraits)
BACKBONES = Registry("backbone", "gshn.backbones", "backbones", Traits)
NEURONS = Registry("neuron", "gshn.neurons", "neurons/kinds", NeuronTraits)
TEXT_ENCODERS = Registry("text encoder", "gshn.text_encoders", "encoders/text_encoders", TextEncoderTraits)
LOSSES = Registry("loss", "gshn.losses", "losses", LossTraits)
