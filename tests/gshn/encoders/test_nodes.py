import math

import torch

from gshn.encoders.nodes import NodeEmbedding, waves
from gshn.graphs.region_features import COLOUR_DIM
from gshn.graphs.scene_graph import GEOMETRY

FEATURES = 500


def inputs(nodes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    # Channels of a backbone are correlated: 8 causes for all of them.
    causes = torch.randn(nodes, 8, generator=random) @ torch.randn(8, FEATURES, generator=random) / math.sqrt(8)
    category = torch.randint(0, 9, (nodes,), generator=random)
    return causes, category, torch.rand(nodes, len(GEOMETRY), generator=random)


def embedding(dropout: float = 0.0) -> NodeEmbedding:
    torch.manual_seed(0)
    return NodeEmbedding(FEATURES, 10, 32, unlabelled=9, dropout=dropout)


def test_waves_one_by_one() -> None:
    geometry = torch.rand(3, len(GEOMETRY))
    out = waves(geometry)
    assert out.shape == (3, 7 * len(GEOMETRY))
    for n in range(3):
        g = float(geometry[n, 4])
        expected = [2 * g - 1]
        for k in (1, 2, 4):
            expected += [math.sin(math.pi * k * g), math.cos(math.pi * k * g)]
        torch.testing.assert_close(out[n, 4 :: len(GEOMETRY)], torch.tensor(expected), atol=1e-5, rtol=0)


def test_no_source_drowns_the_others() -> None:
    """An untrained embedding changes by like amounts when a node's features, colour, geometry or category do."""
    features, category, geometry = inputs(64)
    model, batch = embedding().eval(), torch.zeros(64, dtype=torch.long)
    with torch.no_grad():
        reference = model(features, category, geometry, batch, 1)
        other = features.roll(1, 0)
        moved = [
            torch.cat([features[:, :COLOUR_DIM], other[:, COLOUR_DIM:]], dim=1),
            torch.cat([other[:, :COLOUR_DIM], features[:, COLOUR_DIM:]], dim=1),
        ]
        changes = [(model(own, category, geometry, batch, 1) - reference).square().mean() for own in moved]
        changes += [(model(features, category, geometry.roll(1, 0), batch, 1) - reference).square().mean()]
        changes += [(model(features, (category + 1) % 9, geometry, batch, 1) - reference).square().mean()]
    assert max(changes) < 8 * min(changes), changes


def test_hidden_categories_are_those_of_whole_graphs() -> None:
    features, category, geometry = (part[:1].expand(200, *part.shape[1:]) for part in inputs(1))
    batch = torch.arange(200) // 4
    model = embedding(dropout=0.5)
    torch.manual_seed(1)
    with torch.no_grad():
        out = model.train()(features, category, geometry, batch, 50)
        seen, unseen = (
            model.eval()(features, torch.full_like(category, int(c)), geometry, batch, 50)[0] for c in (category[0], 9)
        )
    shown = [torch.allclose(row, seen, atol=1e-6) for row in out]
    hidden = [torch.allclose(row, unseen, atol=1e-6) for row in out]
    assert all(a != b for a, b in zip(shown, hidden, strict=True))
    assert all(len(set(shown[i : i + 4])) == 1 for i in range(0, 200, 4))
    assert 10 < sum(hidden) / 4 < 40


def test_the_equation_node_by_node() -> None:
    features, category, geometry = inputs(5)
    model, batch = embedding().eval(), torch.zeros(5, dtype=torch.long)
    model.mean.fill_(0.3)
    model.std.fill_(2.0)
    with torch.no_grad():
        out = model(features, category, geometry, batch, 1)
        for n in range(5):
            own = (features[n] - 0.3) / 2
            e = model.visual.weight @ own[COLOUR_DIM:] + model.visual.bias
            e = e + model.colour.weight @ own[:COLOUR_DIM] + model.colour.bias
            e = e + model.geometry.weight @ waves(geometry[n : n + 1])[0] + model.geometry.bias
            e = e + model.category.weight[category[n]]
            inner = model.outer[1]
            e = e + inner.weight @ torch.nn.functional.gelu(e) + inner.bias
            torch.testing.assert_close(out[n], torch.nn.functional.layer_norm(e, (32,)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_linear_embedding_is_the_sum_of_its_parts() -> None:
    features, category, geometry = inputs(5)
    model = NodeEmbedding(FEATURES, 10, 32, unlabelled=9, dropout=0.0, linear=True).eval()
    expected = model.visual(features[:, COLOUR_DIM:].clamp(-10, 10)) + model.colour(features[:, :COLOUR_DIM])
    expected = expected + model.geometry(waves(geometry)) + model.category(category)
    out = model(features, category, geometry, torch.zeros(5, dtype=torch.long), 1)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def test_noise_is_on_visual_features_in_training_only() -> None:
    features, category, geometry = (part[:1].expand(4000, *part.shape[1:]) for part in inputs(1))
    torch.manual_seed(0)
    model = NodeEmbedding(FEATURES, 10, 32, unlabelled=9, dropout=0.0, noise=0.7)
    seen: list[torch.Tensor] = []
    model.visual.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.colour.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = torch.zeros(4000, dtype=torch.long)
    with torch.no_grad():
        model.train()(features, category, geometry, batch, 1)
        model.eval()(features, category, geometry, batch, 1)
    colour, visual, colour_again, visual_again = seen
    noise = visual - visual_again
    assert abs(float(noise.std()) - 0.7) < 0.01 and abs(float(noise.mean())) < 0.01
    assert torch.equal(colour, colour_again) and torch.equal(visual_again[0], visual_again[1])
