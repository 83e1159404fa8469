"""Counting a checkpoint, and ``python -m neuromorphic.profile``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
from helpers import STEPS, finish, random_graph, start, tiny_config, tiny_model
from torch import nn
from torch_geometric.data import Batch

from gshn.errors import CheckpointError
from gshn.export.side_by_side import pytorch_spikes
from gshn.inference import spiking_inputs
from gshn.neurons.lif import LIFParameters, spike_function
from gshn.neurons.multistep import lif
from gshn.profiling import meters
from gshn.profiling.counts import count_image, count_images, totals
from gshn.profiling.dense import count_operations
from gshn.profiling.plots import accuracy_and_energy, energy_by_part, png
from gshn.profiling.report import profile, relu_twin
from neuromorphic import profile as command
from neuromorphic.errors import UserError
from neuromorphic.execution.c_compiler import compiler
from neuromorphic.execution.operations import LayerCount
from neuromorphic.profiling.energy import Operations, Workload, joules, load_models

SCHEMA = json.loads((files("gshn.profiling") / "report.schema.json").read_text())
Pair = tuple[int, int]
TWIN = ["model.spiking.neuron=relu", "model.spiking.steps=1", "objectives.spike_contrast=0", "objectives.firing_rate=0"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["profile", *map(str, arguments)])
    command.main()


@pytest.fixture(scope="module")
def tiny():
    """A small model that fires, and what its spiking path computes on for three graphs."""
    model = tiny_model().eval()
    with torch.no_grad():
        for weight in model.encoder.spiking.weights:
            weight.mul_(2.0)
        graphs = Batch.from_data_list([random_graph(nodes, nodes) for nodes in (3, 4, 6)])
        inputs = spiking_inputs(model, model.node_inputs(graphs))
    return model, {f"graph {k}": own for k, own in enumerate(inputs)}


def test_counts_of_an_image_equal_loops(tiny) -> None:
    encoder, image = tiny[0].encoder.spiking, tiny[1]["graph 1"]
    with torch.no_grad():
        encoder.weights[1][3, :7] = 0.0  # pruned: no synapses
    first, second = pytorch_spikes(encoder, image)
    counted = count_image(encoder, "image", image, {"lif_0": first, "lif_1": second})
    a, w = image.aggregation.dense(4), encoder.weights[1]
    channels, steps = w.shape[0], encoder.steps
    unrolled = transformed = 0
    for spikes in first.reshape(steps, 4, channels):
        for node in range(4):
            for channel in range(channels):
                if spikes[node, channel]:
                    unrolled += int((a[:, node] != 0).sum()) * int((w[:, channel] != 0).sum())
                    transformed += int((w[:, channel] != 0).sum())
    assert unrolled > transformed > 0
    assert counted.workload.unrolled.ac == counted.layers["lif_1"].effective_acs == unrolled
    assert counted.workload.factored.ac == transformed
    edges = int((a != 0).sum())
    assert counted.edges == edges
    assert counted.workload.factored.elementwise == 2 * steps * edges * channels
    # The first layer's current is the same in every step: the exported graph computes it in each, hardware once.
    assert counted.layers["lif_0"].effective_macs == steps * 4 * channels * encoder.weights[0].shape[1]
    assert counted.workload.unrolled.mac == 4 * channels * encoder.weights[0].shape[1]
    for workload in (counted.workload.factored, counted.workload.unrolled):
        assert workload.neuron_update == 2 * steps * 4 * channels
        assert workload.spike == workload.firing == first.sum() + second.sum()
    assert [count.tolist() for count in counted.spikes_per_step.values()] == [
        first.sum(axis=1).tolist(),
        second.sum(axis=1).tolist(),
    ]


@pytest.mark.lava
def test_back_ends_give_the_same_counts(tiny) -> None:
    encoder, images = tiny[0].encoder.spiking, tiny[1]
    torch_counts = count_images(encoder, images)
    assert sum(count.total.spikes for count in torch_counts) > 100
    for source in ("numpy", "lava"):
        others = count_images(encoder, images, source)
        assert totals(others) == totals(torch_counts)
        assert [count.workload for count in others] == [count.workload for count in torch_counts]


@pytest.mark.skipif(compiler() is None, reason="there is no C compiler")
def test_c_gives_the_same_counts(tiny) -> None:
    encoder, images = tiny[0].encoder.spiking, tiny[1]
    assert totals(count_images(encoder, images, "c")) == totals(count_images(encoder, images))
    fixed = [totals(count_images(encoder, images, source, "fixed")) for source in ("c", "numpy")]
    assert fixed[0] == fixed[1]


def test_operators_are_counted() -> None:
    linear, x = nn.Linear(8, 4), torch.randn(3, 8)
    assert count_operations(lambda: linear(x)) == Operations(mac=3 * 8 * 4)
    assert count_operations(lambda: torch.relu(x) + x) == Operations(elementwise=48)
    assert count_operations(lambda: torch.zeros(2, 8).index_add(0, torch.tensor([0, 1, 1]), x)) == Operations(
        elementwise=24
    )
    q = torch.randn(1, 2, 5, 4)
    attention = count_operations(lambda: nn.functional.scaled_dot_product_attention(q, q, q))
    assert attention.mac == 2 * (2 * 5 * 5 * 4)
    assert attention.elementwise >= 5 * 2 * 5 * 5  # the softmax
    assert count_operations(lambda: nn.Embedding(5, 3)(torch.tensor([1, 2]))) == Operations()
    # Neurons, too, though on the CPU they run in C: a product, a sum and a difference for each step at least.
    neurons = count_operations(lambda: lif(torch.randn(8, 100), LIFParameters(), spike_function("atan", 2.0)))
    assert neurons.elementwise >= 8 * 100 * 3
    convolution, image = nn.Conv2d(3, 6, 3, padding=1), torch.randn(2, 3, 5, 5)
    assert count_operations(lambda: convolution(image)).mac == 2 * 25 * 6 * 27


def edges_of_windows(shape: tuple[int, int], out: tuple[int, int], window: Callable[[int, int, int], range]) -> int:
    """Numbers in all windows of a picture, one by one; ``window`` gives a window's places along an axis."""
    count = 0
    for row in range(out[0]):
        for column in range(out[1]):
            for y in window(0, row, out[0]):
                for x in window(1, column, out[1]):
                    count += 0 <= y < shape[0] and 0 <= x < shape[1]
    return count


@pytest.mark.parametrize(
    ("module", "stride", "padding", "dilation", "kernel"),
    [
        (nn.AvgPool2d(2), (2, 2), (0, 0), (1, 1), (2, 2)),
        (nn.AvgPool2d((3, 2), stride=1, padding=(1, 0)), (1, 1), (1, 0), (1, 1), (3, 2)),
        (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 2), (1, 1), (1, 1), (3, 3)),
        (nn.MaxPool2d(3, stride=2, padding=1), (2, 2), (1, 1), (1, 1), (3, 3)),
        (nn.MaxPool2d((2, 3), dilation=2), (2, 3), (0, 0), (2, 2), (2, 3)),
    ],
    ids=str,
)
def test_pooling_is_counted_window_by_window(
    module: nn.Module, stride: Pair, padding: Pair, dilation: Pair, kernel: Pair
) -> None:
    image = torch.randn(2, 3, 7, 9)

    def window(axis: int, k: int, _: int) -> range:
        first = k * stride[axis] - padding[axis]
        return range(first, first + kernel[axis] * dilation[axis], dilation[axis])

    edges = edges_of_windows((7, 9), tuple(module(image).shape[-2:]), window)
    assert count_operations(lambda: module(image)) == Operations(elementwise=2 * 3 * edges)


@pytest.mark.parametrize("out", [(3, 4), (7, 9), (1, 2)])
def test_adaptive_pooling_is_counted_window_by_window(out: Pair) -> None:
    image, module = torch.randn(2, 3, 7, 9), nn.AdaptiveAvgPool2d(out)

    def window(axis: int, k: int, count: int) -> range:
        n = (7, 9)[axis]
        return range(k * n // count, -(-(k + 1) * n // count))

    edges = edges_of_windows((7, 9), out, window)
    assert count_operations(lambda: module(image)) == Operations(elementwise=2 * 3 * edges)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": 2},
        {"stride": (2, 3)},
        {"dilation": (2, 1)},
        {"padding": (1, 2)},
        {"padding": 1, "groups": 4, "stride": 2},
    ],
    ids=str,
)
def test_convolutions_are_counted_edge_by_edge(options: dict[str, Any]) -> None:
    """Those to the padding's zeros included, as PyTorch computes them."""
    convolution, image = nn.Conv2d(4, 8, (3, 2), **options), torch.randn(2, 4, 7, 9)
    edges = 0
    for _ in range(2):
        for _ in range(8):
            for _ in range(convolution(image)[0, 0].numel()):
                for _ in range(4 // options.get("groups", 1)):
                    edges += 3 * 2
    assert count_operations(lambda: convolution(image)) == Operations(mac=edges)


def test_the_graph_attention_path_is_counted(tiny) -> None:
    model = tiny[0]
    small, large = (Batch.from_data_list([random_graph(6, 0)] * k) for k in (1, 3))
    counts = []
    with torch.no_grad():
        for graphs in (small, large):
            inputs = model.node_inputs(graphs)
            counts.append(count_operations(lambda i=inputs: model.encoder.gat(i.x, i.edge_index, i.edge_attr)))
    assert counts[0].mac > 2 * 6 * 16 * 16 * 2  # two layers, two maps each
    assert counts[0].elementwise > small.edge_index.shape[1] * 16 * 2  # messages
    assert (counts[1].mac, counts[1].elementwise) == (3 * counts[0].mac, 3 * counts[0].elementwise)


def test_the_twin_is_the_same_network_without_spikes(tiny) -> None:
    encoder, image = tiny[0].encoder.spiking, tiny[1]["graph 2"]
    twin = relu_twin(encoder)
    twin.load_state_dict(encoder.state_dict())
    first, second = twin(image.x, image.aggregation).layers
    (w0, w1), (b0, b1) = encoder.weights, [linear.bias for linear in encoder.linears]
    hidden = torch.relu(image.x.double() @ w0.T.double() + b0.double())
    torch.testing.assert_close(first[0], hidden)
    a = image.aggregation.dense(6).double()
    torch.testing.assert_close(second[0], torch.relu(a @ hidden @ w1.T.double() + b1.double()))
    channels = w0.shape[0]
    assert count_operations(lambda: twin(image.x, image.aggregation)).mac == 2 * 6 * channels * channels


def test_the_command_reports(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--checkpoint", finished, "--out", tmp_path / "out", "--images", 6)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    jsonschema.validate(report, SCHEMA)
    assert [layer["name"] for layer in report["layers"]] == ["lif_0", "lif_1"]
    for layer in report["layers"]:
        assert layer["neuron_updates"] == layer["neurons"] * report["steps"]
        assert layer["spikes"] == sum(layer["spikes_per_step"]) > 0
        assert layer["bias_additions"] > 0 and layer["delayed_messages"] == 0
    assert {"biases", "delays"} <= set(report["not_counted"])
    for key in ("spikes", "synaptic_operations", "neuron_updates"):
        whole = sum(layer[key] for layer in report["layers"])
        assert report["totals"][key] == whole == sum(image[key] for image in report["per_image"])
    for model, total in report["totals"]["joules_per_image"].items():
        own = [row for row in report["energy"] if row["model"] == model]
        assert {"features", "nodes", "gat", "spiking", "readout", "text", "matching", "fusion"} == {
            row["part"] for row in own if row["in_total"]
        } - {"segmentation"}
        assert total["joules_low"] == pytest.approx(sum(row["joules_low"] for row in own if row["in_total"]))
        assert all(0 < row["joules_low"] <= row["joules_high"] for row in own)
    for name in ("inference", "pretraining"):
        assert report["measured"][name]["seconds_per_image"] > 0
        assert report["measured"][name]["joules_per_image"] or "none" in report["measured"][name]["meter"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing outside
    assert "Davies" in page and "lif_1" in page
    out = capsys.readouterr().out
    assert "ReLU twin" in out and "report.html: tables and plots" in out
    assert f"next:       python -m neuromorphic.export --to lava --checkpoint {finished} --out" in out.splitlines()[-1]


def test_checkpoints_are_compared(monkeypatch: pytest.MonkeyPatch, finished: Path, cache: str, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    finish(start(twin, cache, *STEPS, *TWIN))
    run(monkeypatch, "--checkpoint", finished, "--out", tmp_path, "--images", 3, "--no-measure", "--compare", twin)
    report = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(report, SCHEMA)
    lif, relu = report["compared"]
    assert (lif["neuron"], lif["steps"], relu["neuron"], relu["steps"]) == ("lif", 8, "relu", 1)
    assert lif["firing_rate"] > 0 and relu["firing_rate"] is None
    assert relu["accuracy"]["vqa.accuracy"] == json.loads((twin / "metrics.json").read_text())["vqa.accuracy"]
    # The twin's energy is that of the part relu_twin: it depends on shapes alone.
    (part,) = (r for r in report["energy"] if (r["model"], r["part"]) == ("cmos45-fp32", "relu_twin"))
    assert relu["joules_per_image"]["cmos45-fp32"] == {"low": part["joules_low"], "high": part["joules_high"]}
    assert (tmp_path / "report.html").read_text().count("data:image/png;base64,") == 3
    with pytest.raises(CheckpointError, match="has no spiking neurons"):
        run(monkeypatch, "--checkpoint", twin, "--out", tmp_path / "new", "--images", 3)
    assert not (tmp_path / "new").exists()


def test_at_the_break_even_rate_both_cost_the_same(finished: Path) -> None:
    from gshn.profiling.report import break_even

    own, models = profile(finished, 4), load_models()
    models["cmos45-fp32"].picojoules |= {"neuron_update": [0.1, 0.1], "elementwise": [0.1, 0.1], "ac": [9.0, 90.0]}
    rates = break_even(own, models, "cmos45-fp32")
    whole = sum(totals(own.images).values(), LayerCount())
    for end in ("low", "high"):
        factor = rates[end] / (whole.spikes / whole.cells)
        assert 0 < factor != 1
        now = own.discrete()
        scaled = [replace(o, ac=o.ac * factor, firing=o.firing * factor, spike=o.spike * factor)
                  for o in (now.factored, now.unrolled)]  # fmt: skip
        cost = joules(models, "cmos45-fp32", Workload(*scaled))
        assert getattr(cost, end) == pytest.approx(
            getattr(joules(models, "cmos45-fp32", Workload.dense(own.twin)), end)
        )
    models["cmos45-fp32"].picojoules["neuron_update"] = [1e4, 1e4]
    assert break_even(own, models, "cmos45-fp32") == {"low": None, "high": None}


@pytest.mark.parametrize(
    ("rates", "printed"),
    [
        ({"low": 0.54, "high": 0.006}, "0.006 to 0.540"),
        ({"low": 0.03, "high": 0.04}, "0.030 to 0.040"),
        ({"low": 0.02, "high": 0.02}, "0.020"),
        ({"low": 0.02, "high": None}, "never to 0.020"),
        ({"low": 1.0, "high": 0.3}, "0.300 to always"),
    ],
)
def test_break_even_rates_are_printed_with_the_smaller_first(rates: dict[str, float | None], printed: str) -> None:
    from gshn.profiling.page import summary_rows

    own = {"model": "loihi2", "joules_low": 1e-6, "joules_high": 2e-6}
    report = {
        "energy_models": {"loihi2": {}},
        "energy": [own | {"part": "spiking"}, own | {"part": "relu_twin"}],
        "totals": {"joules_per_image": {"loihi2": {"joules_low": 1e-6, "joules_high": 2e-6}}},
        "break_even_firing_rate": {"loihi2": rates},
    }
    assert summary_rows(report)[0]["break_even"] == printed


def test_a_meter_divides_by_images_and_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Monitor:
        def __init__(self, gpu_indices: list[int]) -> None:
            self.gpu_indices, self.cpu_indices = [0], [0]

        def begin_window(self, name: str) -> None:
            self.begun = len(calls)

        def end_window(self, name: str) -> SimpleNamespace:
            spent = 5.0 * (len(calls) - self.begun)
            return SimpleNamespace(gpu_energy={0: 2 * spent}, cpu_energy={0: spent}, dram_energy=None)

    zeus = SimpleNamespace(monitor=SimpleNamespace(ZeusMonitor=Monitor))
    monkeypatch.setitem(__import__("sys").modules, "zeus", zeus)
    monkeypatch.setitem(__import__("sys").modules, "zeus.monitor", zeus.monitor)
    measured = meters.Meter().measure(lambda: calls.append(0), images=10, seconds=0.01)
    assert measured.joules == pytest.approx({"gpu0": 1.0, "cpu0": 0.5})
    assert measured.meter == "zeus: gpu0, cpu0"


def test_without_a_meter_only_time_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zeus", None)
    monkeypatch.setitem(__import__("sys").modules, "zeus.monitor", None)
    measured = meters.Meter().measure(lambda: None, images=1, seconds=0.0)
    assert measured.joules == {} and "gshn[energy]" in measured.meter and measured.seconds > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "0"], "--images: must be a whole number of at least 1"),
        (["--images", "1000000"], "held-out images"),
        (["--precision", "fixed"], "needs --backend numpy, lava or c"),
        (["--energy-models", "none.yaml"], "none.yaml"),
        (["--compare", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_are_one_line(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        run(monkeypatch, "--checkpoint", finished, "--out", tmp_path / "out", "--images", "2", *arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "report.json").exists()


def test_a_broken_metrics_file_is_one_line(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "metrics.json").write_text('{"vqa.acc')
    with pytest.raises(CheckpointError, match=r"metrics\.json is broken"):
        profile(copy, 2)


def test_nothing_is_written_where_the_page_fails(
    monkeypatch: pytest.MonkeyPatch, finished: Path, tmp_path: Path
) -> None:
    def fail(report: object) -> str:
        raise UserError("no page")

    monkeypatch.setattr("gshn.profiling.page.html", fail)
    with pytest.raises(UserError, match="no page"):
        run(monkeypatch, "--checkpoint", finished, "--out", tmp_path / "out", "--images", 2, "--no-measure")
    assert not (tmp_path / "out").exists()


def test_config_of_the_twin() -> None:
    from gshn.errors import ConfigError

    assert tiny_config(*TWIN).model.spiking.neuron == "relu"
    for key in range(1, 4):
        with pytest.raises(ConfigError, match="relu"):
            tiny_config(*TWIN[:key], *TWIN[key + 1 :])


def test_names_of_energy_models_are_drawn_as_they_are() -> None:
    name = "cost in $x{$"
    row = {"part": "gat", "model": name, "joules_low": 1e-6, "joules_high": 2e-6}
    joules = {"low": 1e-6, "high": 2e-6}
    compared = {"accuracy": {"vqa": 0.5}, "joules_per_image": {name: joules}, "firing_rate": 0.1}
    compared |= {"neuron": "lif", "steps": 4}
    assert png(energy_by_part({"energy_models": {name: {}}, "energy": [row]}))
    assert png(accuracy_and_energy([compared], "vqa", [name]))
