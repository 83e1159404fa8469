"""Kinds by name: what modules declare, what other packages add, and what is refused."""

import logging
import re
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from helpers import pair_batch, tiny_config, tiny_model
from official import write

from gshn import registry
from gshn.config import ObjectiveConfig, _with_losses, load_config
from gshn.errors import ConfigError
from gshn.registry import (
    BACKBONES,
    DATASETS,
    LOSSES,
    NEURONS,
    SEGMENTERS,
    TEXT_ENCODERS,
    Kind,
    LossTraits,
    NeuronTraits,
    Registry,
    options,
)
from gshn.training.objective import Objective

FUNCTIONS = {
    DATASETS: ("make",),
    SEGMENTERS: ("make",),
    BACKBONES: ("make",),
    NEURONS: ("make",),
    TEXT_ENCODERS: ("make_tokenizer", "make_encoder"),
    LOSSES: ("loss",),
}
ALL = [(known, form) for known in FUNCTIONS for form in known]


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[NeuronTraits]:
    """A registry of a folder with a module that must not be imported, and a package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "more"]:  # of another test
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(registry, "ROOT", tmp_path / "own")
    code = "raise SystemExit\nKINDS = {'a': TRAITS, 'b:FILE': TRAITS, 'c-d[:OPTIONS]': TRAITS}\n"
    write(tmp_path / "own/things/one.py", code.replace("TRAITS", "{'spikes': True, 'rates': True, 'help': 'it is'}"))
    write(tmp_path / "own/things/two/__init__.py", "KINDS = {'e': {'spikes': False, 'rates': True}}\n")
    write(tmp_path / "own/things/base.py", "# no KINDS\n")
    return Registry("thing", "gshn.things", "things", NeuronTraits)


def add_package(folder: Path, points: dict[str, str], modules: dict[str, str]) -> None:
    for name, code in {"more/__init__": "", **modules}.items():
        write(folder / f"{name}.py", code)
    write(folder / "more_things-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: more-things\nVersion: 1\n")
    lines = "".join(f"{name} = {module}\n" for name, module in points.items())
    write(folder / "more_things-1.dist-info/entry_points.txt", f"[gshn.things]\n{lines}")


def test_names_are_read_and_not_imported(things: Registry[NeuronTraits]) -> None:
    assert list(things) == ["a", "b:FILE", "c-d[:OPTIONS]", "e"]
    for text in ("a", "b:x", "b:x:y", "c-d", "c-d:x=1", "e"):
        assert text in things and things[text].name == text.partition(":")[0]
    for text in ("", "a:", "a:x", "b", "b:", "c-d:", "c", "f", ":x", "A", "a "):
        assert text not in things
        with pytest.raises(ConfigError, match=r"there is no thing '.*'; choose one of a, b:FILE, c-d\[:OPTIONS\], e$"):
            things[text]
    assert things["c-d:x=1"].traits.spikes and not things["e"].traits.spikes
    assert things["e"].module == "own.things.two" and things["a"].module == "own.things.one"
    assert things.help().startswith("a: it is; b:FILE: it is; ")


def test_other_packages_add_kinds(things: Registry[NeuronTraits], tmp_path: Path, monkeypatch) -> None:
    kinds = "KINDS = {'%s': {'spikes': True, 'rates': True}}\n"
    modules = {
        "more/good": kinds % "good:WHAT" + "def make(name):\n    return name.upper()\n",
        "more/broken": kinds % "broken" + "import nothing_of_this_name\n",
        "more/empty": kinds % "empty",
    }
    add_package(tmp_path / "site", {name: f"more.{name}" for name in ("good", "broken", "empty")}, modules)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert list(things) == ["a", "b:FILE", "c-d[:OPTIONS]", "e", "broken", "empty", "good:WHAT"]
    assert things["good:x"].package == "more-things"
    assert things.function("good:x")("good:x") == "GOOD:X"
    with pytest.raises(ConfigError, match="thing 'broken' of more-things cannot be used: No module named 'nothing_of"):
        things.function("broken")
    with pytest.raises(ConfigError, match=r"thing 'empty' of more-things cannot be used: .* has no attribute 'make'"):
        things.function("empty")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("KINDS = {'a': {'spikes': True, 'rates': True}}", "thing 'a' is left out: there is one of this name already"),
        ("KINDS = {'f': {'spikes': True}}", r"KINDS\['f'\] should have help, spikes, rates .*'rates'"),
        ("KINDS = {'f': {'spikes': True, 'rates': True, 'size': 1}}", r"KINDS\['f'\] should have .*'size'"),
        ("KINDS = {'f': {'spikes': 1, 'rates': True}}", r"KINDS\['f'\] should have .*spikes is 1, no bool"),
        ("KINDS = {'f g': {}}", "'f g' is none of NAME, NAME:WHAT and"),
        ("KINDS = {name: {} for name in 'fg'}", "is left out: "),
        ("KINDS = ['f']", "is left out: "),
        ("KINDS = (", "is left out: "),
        ("", r"has no KINDS = \{\.\.\.\}"),
        (None, "there is no module more.one"),
    ],
)
def test_what_cannot_be_read_is_told_and_left_out(things, tmp_path: Path, monkeypatch, caplog, code, said) -> None:
    add_package(tmp_path / "site", {"one": "more.one"}, {} if code is None else {"more/one": code})
    monkeypatch.syspath_prepend(tmp_path / "site")
    with caplog.at_level(logging.WARNING):
        assert list(things) == ["a", "b:FILE", "c-d[:OPTIONS]", "e"]
    (message,) = caplog.messages
    assert message.startswith("more-things: ") and "\n" not in message
    assert re.search(said, message), message


@dataclass(frozen=True)
class Options:
    count: int = 3
    scale: float = 1.0
    on: bool = False
    word: str = "x"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError("count must be at least 1")


def test_options_are_read_by_their_types() -> None:
    assert options("a", Options) == Options()
    assert options("a:count=2,scale=1e-3,on=true,word=b:c", Options) == Options(2, 1e-3, True, "b:c")
    for text, said in {
        "a:size=1": "'a:size=1': a has no option 'size'; choose one of count, scale, on, word, as KEY=VALUE",
        "a:count": "count= is not of type int",
        "a:count=1.5": "count=1.5 is not of type int",
        "a:on=yes": "on=yes is not of type bool",
        "a:count=0": "'a:count=0': count must be at least 1",
    }.items():
        with pytest.raises(ConfigError, match=said):
            options(text, Options)


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"needs": "luck"}, "needs is 'luck', none of"),
        ({"order": "first"}, "order is 'first', no int"),
        ({"options": {"x": {"default": 1}}}, "option x takes default, low and high"),
        ({"options": {"x": {"default": 1, "low": 0, "high": 2, "least": 1}}}, "option x takes default, low and high"),
    ],
)
def test_what_a_loss_cannot_declare(traits: dict, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        LossTraits(**traits)


def test_a_loss_whose_key_is_taken_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    names = ("reads", "fusion_stride", "not-one", "fair")
    ours = {"itc": Kind("itc", "itc", "x", LossTraits())}
    theirs = {name: Kind(name, name, "x", LossTraits(), "more") for name in names}
    monkeypatch.setitem(vars(LOSSES), "kinds", ours | theirs)
    section = _with_losses(type("Objectives", (ObjectiveConfig,), {"__annotations__": {}}))
    assert list(LOSSES.kinds) == ["fair"] and "fair" in section.__annotations__
    assert [message.partition(" is left")[0] for message in caplog.messages[1:]] == [
        "more: loss 'reads'", "more: loss 'fusion_stride'", "more: loss 'not-one'",
    ]  # fmt: skip


@pytest.mark.parametrize(("known", "form"), ALL, ids=[f"{known.what} {form}" for known, form in ALL])
def test_every_kind_has_its_functions_and_says_what_it_is(known: Registry, form: str) -> None:
    text = form.partition("[")[0]
    assert known[text].traits.help and known[text].package is None
    assert all(callable(known.function(text, name)) for name in FUNCTIONS[known])


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_is_a_finite_number_with_a_gradient(name: str) -> None:
    others = [f"objectives.{other}=0" for other in LOSSES if other != name]
    model = tiny_model(tiny_config(*others, f"objectives.{name}=2", "objectives.firing_rate_target=0.001"))
    losses = Objective(model, model.config.objectives)(pair_batch(model, range(4)))
    assert losses.keys() == {"loss", name, "rate"}
    assert losses["loss"].shape == () and losses["loss"] > 0
    torch.testing.assert_close(losses["loss"], 2 * losses[name])
    losses["loss"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_losses_have_the_weights_of_older_configurations(tmp_path: Path) -> None:
    known = {
        "itc": 1.0,
        "spike_contrast": 0.1,
        "stl_contrast": 1.0,
        "stl_words": 0.2,
        "mlm": 0.2,
        "itm": 1.0,
        "firing_rate": 1.0,
        "firing_rate_target": 0.1,
        "fusion_stride": 4,
    }
    found = load_config("default").objectives
    assert {f.name: getattr(found, f.name) for f in fields(found)} == known
    assert found.on() == ["itc", "spike_contrast", "stl_contrast", "stl_words", "firing_rate", "mlm", "itm"]
    path = write(tmp_path / "old.yaml", "objectives:\n  mlm: 0.0\n  firing_rate_target: 0.2\n")
    old = load_config(path).objectives
    assert (old.mlm, old.firing_rate_target, old.itc) == (0.0, 0.2, 1.0) and not old.reads("masked")
    with pytest.raises(ConfigError, match=r"objectives\.nothing"):
        load_config("default", ["objectives.nothing=1"])
