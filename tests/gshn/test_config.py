from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gshn.config import Config, differences, literal, load_config, named_configs, to_yaml
from gshn.errors import ConfigError


@pytest.mark.parametrize("name", named_configs())
def test_named_configs_are_valid_and_survive_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_default_is_the_dataclasses_defaults() -> None:
    assert load_config() == Config()
    assert {"default", "smoke"} <= set(named_configs())


def test_overrides() -> None:
    config = load_config("default", ["model.spiking.steps=16", "data.questions.train=null", "seed=3"])
    assert (config.model.spiking.steps, config.data.questions.train, config.seed) == (16, None, 3)
    assert differences(config, Config()) == ["seed (3 and 0)", "model.spiking.steps (16 and 8)"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.wdth=3", r"model\.wdth.*Did you mean: 'width'"),
        ("nothing=3", "nothing"),
        ("model.width=wide", r"model\.width.*Integer"),
        ("model.spiking.steps=1", r"model\.spiking\.steps' is 1: must be at least 2"),
        ("model.width=130", r"multiple of model\.gat\.heads"),
        ("model.spiking.tau=1e-9", r"model\.spiking\.dt' is 0.0001: must be at most model\.spiking\.tau \(1e-09\)"),
        ("pretrain.max_grad_norm=-1", r"pretrain\.max_grad_norm' is -1\.0: must lie in \(0, 1e\+09\]"),
        ("finetune.lr=inf", r"finetune\.lr' is inf: must lie in \(0, 10\]"),
        ("model.r=nan", r"model\.r' is nan: must lie in \[-1000, 1000\]"),
        ("model.width=0", r"model\.width' is 0: must lie in \[1, 8192\]"),
        ("data.questions.segments=0", r"data\.questions\.segments' is 0: must lie in \[1, 10000\]"),
        ("data.pairs.segmenter=semantic", r"data\.pairs\.weights' is None: semantic needs weights"),
        ("data.pairs.test=null", r"data\.pairs\.test' is None: shapescenes has no end: give a number"),
        (
            "objectives={itc: 0, mlm: 0, itm: 0, spike_contrast: 0, stl_contrast: 0, stl_words: 0, firing_rate: 0}",
            "objectives.itc' is 0.0: one of itc, spike_contrast, .*, mlm, itm must be above 0",
        ),
        ("finetune.tasks={a: 1}", r"override 'finetune.tasks=\{a: 1\}' cannot be read"),
        (
            "graph.backbone=resnet",
            "efficientnet_lite0, efficientnet_lite2, small_conv, timm:NAME, transformers:NAME_OR",
        ),
        ("graph.levels=[32,32]", r"graph\.levels' is \[32, 32\]: give strides, each once"),
        ("graph.levels=[]", r"graph\.levels' is \[\]: give strides"),
        ("graph.pooling=max", "graph.pooling' is 'max': choose one of cells, bilinear"),
        ("data.pairs.caption_weights=[1,2]", "5 weights"),
        ("finetune.tasks=[vqa, chess]", "vqa, entailment, nlvr2"),
        ("--flag", "key=value"),
    ],
)
def test_bad_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("default", [override])


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'nowhere' is neither a file nor one of ablation, default"):
        load_config("nowhere")
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: [1, 2")
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read"):
        load_config(broken)
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text("model: {depth: 3}")
    with pytest.raises(ConfigError, match=r"model\.depth.*unknown\.yaml"):
        load_config(unknown)


NAMES = [
    "{a,b}",
    "[x]",
    "a #b",
    "a: b",
    "${x}",
    "\\\\${x}",
    "$",
    "*",
    "&a",
    "!x",
    "%",
    "@",
    "'q'",
    '"q"',
    "1e5",
    "yes",
    "a=b",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_on_the_command_line_is_taken_as_it_is(name, tmp_path):
    config = load_config("default", [f"data.cache={name}", f"data.pairs.weights={name}", "model.r=2"])
    assert config.data.cache == config.data.pairs.weights == name and config.model.r == 2
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "config.yaml") == config


@given(st.text(st.sampled_from("\\\\${}a: '\"[]#"), max_size=12))
def test_any_text_is_literal_for_omegaconf(text):
    content = OmegaConf.to_yaml(OmegaConf.create(literal({"x": {"y": text}})))
    assert OmegaConf.to_object(OmegaConf.create(content)) == {"x": {"y": text}}


def test_null_is_no_text():
    assert load_config("default", ["data.pairs.weights=null"]).data.pairs.weights is None
