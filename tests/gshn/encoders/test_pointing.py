import math

import pytest
import torch
from helpers import pair_batch, tiny_config, tiny_model

from gshn.encoders.pointing import POINTERS, Pointers
from gshn.graphs.scene_graph import GEOMETRY


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def read(own: Pointers, node: torch.Tensor) -> torch.Tensor:
    """What a pointer reads that points at one node alone."""
    x = own.norm(node)
    return x + own.seen(x)


@torch.no_grad()
def test_pointers_are_the_equations() -> None:
    torch.manual_seed(0)
    b, length, s, k, c = 2, 4, 3, 2, 5
    own = Pointers(c, k)
    own.log_scale.copy_(torch.tensor([1.0, 0.5]))
    hidden, met, nodes = torch.randn(b, length, c), torch.rand(b, length, s, k), torch.randn(b, s, c)
    centroid = torch.rand(b, s, 2)
    tokens = torch.tensor([[True] * 4, [True, True, False, False]])
    there = torch.tensor([[True, True, False], [True] * 3])
    out = own(hidden, tokens, met, nodes, centroid, there)
    assert out.shape == (b, own.channels)
    for i in range(b):
        reads, seen, pointed = [], [], []
        at, of = tokens[i].nonzero()[:, 0].tolist(), there[i].nonzero()[:, 0].tolist()
        for h in range(POINTERS):
            w = softmax([float(own.tokens(hidden[i, a])[h] + own.order[h] * a / len(at)) for a in at])
            j = [
                [
                    math.exp(float(own.log_scale[code]))
                    * sum(w[n] * float(met[i, a, n_, code]) for n, a in enumerate(at))
                    for code in range(k)
                ]
                for n_ in of
            ]
            p = softmax([sum(row) for row in j])
            match = [sum(p[n] * j[n][code] for n in range(len(of))) for code in range(k)]
            mean = [sum(row[code] for row in j) / len(of) for code in range(k)]
            x = sum((p[n] * own.norm(nodes[i, n_]) for n, n_ in enumerate(of)), torch.zeros(c))
            seen.append(x + own.seen[2](torch.nn.functional.gelu(own.seen[0](x))))
            reads += seen[-1].tolist()
            reads += [m - a for m, a in zip(match, mean, strict=True)] + match
            pointed.append(p)
        v = softmax([float(own.saying(hidden[i, a])) for a in at])
        said = sum((v[n] * hidden[i, a] for n, a in enumerate(at)), torch.zeros(c))
        apart = sum(((pointed[0][n] - pointed[1][n]) * centroid[i, n_] for n, n_ in enumerate(of)), torch.zeros(2))
        reads += (own.property(said) * (seen[0] + seen[1]) / 2).tolist()
        reads += (own.relation(said) * (own.distance.weight @ apart)).tolist()
        torch.testing.assert_close(out[i], torch.tensor(reads), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_thing_is_told_from_its_properties_in_two_things() -> None:
    """Best matches of "red" and of "star" alone are alike in both images; only in the first they are one segment's."""
    own = Pointers(4, 1)
    torch.nn.init.zeros_(own.tokens.weight)
    met = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])[..., None]  # image, token, segment
    nodes = torch.randn(2, 2, 4)
    ones = torch.ones(2, 2, dtype=torch.bool)
    out = own(torch.zeros(2, 2, 4), ones, met, nodes, torch.rand(2, 2, 2), ones)
    out = out[:, : -2 * own.distance.out_features].reshape(2, POINTERS, 6)
    assert (out[0, :, 5] > out[1, :, 5] + 1).all()
    torch.testing.assert_close(out[0, 0, :4], read(own, nodes[0, 0]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_is_said_of_two_things_meets_how_they_lie() -> None:
    """The first pointer goes by what is said first; swapping the two things, or their places, turns the sign."""
    torch.manual_seed(0)
    own = Pointers(4, 1)
    torch.nn.init.zeros_(own.tokens.weight)
    hidden, nodes, ones = torch.randn(1, 2, 4), torch.randn(1, 2, 4), torch.ones(1, 2, dtype=torch.bool)
    met = torch.eye(2)[None, ..., None]  # each token is met by a segment of its own
    centroid = torch.tensor([[[0.1, 0.5], [0.9, 0.5]]])

    def lie(met: torch.Tensor, centroid: torch.Tensor) -> torch.Tensor:
        return own(hidden, ones, met, nodes, centroid, ones)[0, -own.distance.out_features :]

    out = own(hidden, ones, met, nodes, centroid, ones)[0]
    first, last = out[: -2 * own.distance.out_features].reshape(2, 6)[:, :4]
    torch.testing.assert_close(first, read(own, nodes[0, 0]), atol=1e-2, rtol=0.0)
    torch.testing.assert_close(last, read(own, nodes[0, 1]), atol=1e-2, rtol=0.0)
    assert lie(met, centroid).abs().max() > 0.01
    torch.testing.assert_close(lie(met.flip(2), centroid), -lie(met, centroid))
    torch.testing.assert_close(lie(met, centroid.flip(1)), -lie(met, centroid))
    torch.testing.assert_close(lie(met, centroid + 0.05), lie(met, centroid))  # wherever in the picture the two are


@torch.no_grad()
def test_what_is_said_of_a_thing_meets_what_it_looks_like() -> None:
    """Stripes said of stripes agree, and dots of dots; crossed over they do not. Said and seen side by side, a head has
    to make this sum of products itself."""
    own = Pointers(2, 1)
    for linear in (own.tokens, own.saying, own.seen[2], own.property):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    torch.nn.init.eye_(own.property.weight)
    words, looks = torch.eye(2)[[0, 0, 1, 1], None], torch.eye(2)[[0, 1, 0, 1], None]
    ones = torch.ones(4, 1, dtype=torch.bool)
    out = own(words, ones, torch.ones(4, 1, 1, 1), looks, torch.rand(4, 1, 2), ones)
    product = out[:, -2 * own.distance.out_features : -own.distance.out_features].sum(dim=1)
    torch.testing.assert_close(product, torch.tensor([1.0, -1.0, -1.0, 1.0]), atol=1e-3, rtol=0.0)


@torch.no_grad()
def test_pointers_are_given_each_segments_own_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tiny_config()).eval()
    batch = pair_batch(model, range(4))
    given: list[torch.Tensor] = []
    forward = model.pointers.forward
    monkeypatch.setattr(model.pointers, "forward", lambda *a: given.append(a[4]) or forward(*a))
    tokens = model.node_tokens(model.encode_graphs(batch.graphs))
    model.matching(model.encode_text(batch.input_ids, batch.attention_mask), tokens)
    x, y = GEOMETRY.index("centroid_x"), GEOMETRY.index("centroid_y")
    for graph in range(4):
        own = batch.graphs.geometry[batch.graphs.batch == graph]
        torch.testing.assert_close(given[0][graph, : len(own)], torch.stack([own[:, x], own[:, y]], dim=1))


def test_answers_teach_both_codes_where_things_are() -> None:
    model = tiny_model(tiny_config("model.dropout=0"))
    torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, 2.0)  # so that there are spikes
    batch = pair_batch(model, range(4))
    tokens = model.node_tokens(model.encode_graphs(batch.graphs))
    read = model.encode_text(batch.input_ids, batch.attention_mask)
    model.evidence(read, tokens)[:, model.config.model.width :].square().sum().backward()
    own = model.pointers
    heads = (model.text_head.parts, model.image_head.parts, model.stl.current)
    for taught in (own.tokens, own.seen[0], own.seen[2], own.saying, own.property, own.relation, own.distance, *heads):
        assert taught.weight.grad is not None and taught.weight.grad.abs().sum() > 0
    assert (own.log_scale.grad != 0).all() and (own.order.grad != 0).all()
