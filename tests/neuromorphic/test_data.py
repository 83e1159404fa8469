"""Inputs and outputs in every format: small real files, held to slow and obvious readers; what is wrong with files."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

import neuromorphic as nm
from neuromorphic.errors import ArgumentError, SignalFileError, UserNotice
from neuromorphic.events import decode_evt3, read_bin, read_prophesee

Event = tuple[int, int, int, int]
"""x, y, t (us) and polarity."""
WIDTH, HEIGHT, DT = 12, 9, 1e-3


def random_events(
    seed: int, count: int = 300, until: int = 60_000, width: int = WIDTH, height: int = HEIGHT
) -> list[Event]:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(5_000, until, count))
    pixels = random.integers(0, (width, height, 2), (count, 3))
    return [(int(x), int(y), int(t), int(p)) for t, (x, y, p) in zip(times, pixels, strict=True)]


def prophesee_header(version: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return f"% date 2026-11-28\n% evt {version}.0\n% geometry {width}x{height}\n% end\n".encode()


def write_evt2(path: Path, events: Sequence[Event], **size: int) -> None:
    """As Prophesee's documentation of EVT 2.0 has it, with an external trigger in between."""
    words, high = [0xA << 28], None
    for x, y, t, p in events:
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high & (2**28 - 1))
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    path.write_bytes(prophesee_header(2, **size) + np.array(words, "<u4").tobytes())


def write_evt3(path: Path, events: Sequence[Event], **size: int) -> None:
    """As Prophesee's documentation of EVT 3.0 has it: rows of one time, line and polarity as vectors of 12 and 8."""
    words: list[int] = []
    high = low = line = None
    k = 0
    while k < len(events):
        x, y, t, p = events[k]
        if t >> 12 != high:
            high, low = t >> 12, None
            words.append(0x8000 | high & 4095)
        if t & 4095 != low:
            low = t & 4095
            words.append(0x6000 | low)
        if y != line:
            line = y
            words.append(y)
        row = [e for e in events[k:] if e[1:] == (y, t, p)]
        ahead = {e[0] for e in row}
        if len(ahead) > 1 and len(ahead) == len(row) and events[k : k + len(row)] == sorted(row):
            words.append(0x3000 | p << 11 | x)
            for start in range(x, max(ahead) + 1, 20):
                bits = [sum(1 << b for b in range(n) if start + s + b in ahead) for s, n in ((0, 12), (12, 8))]
                words += [0x4000 | bits[0], 0x5000 | bits[1]]
            k += len(row)
        else:
            words.append(0x2000 | p << 11 | x)
            k += 1
    path.write_bytes(prophesee_header(3, **size) + np.array(words, "<u2").tobytes())


def write_bin(path: Path, events: Sequence[Event]) -> None:
    """As the N-MNIST files are, Orchard et al. 2015."""
    out, added = [], 0
    for x, y, t, p in events:
        while t - added >= 2**23:
            added += 2**13
            out.append(bytes([0, 240, 0, 0, 0]))
        rest = t - added
        out.append(bytes([x, y, p << 7 | rest >> 16, rest >> 8 & 255, rest & 255]))
    path.write_bytes(b"".join(out))


AEDAT4_INFO = """<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">
<node name="0" path="/mainloop/Recorder/outInfo/0/"><attr key="compression" type="string">NONE</attr>
<attr key="originalModuleName" type="string">capture</attr><attr key="originalOutputName" type="string">events</attr>
<attr key="typeDescription" type="string">events</attr><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/mainloop/Recorder/outInfo/0/info/"><attr key="sizeX" type="int">{width}</attr>
<attr key="sizeY" type="int">{height}</attr><attr key="source" type="string">camera</attr></node></node></node></dv>"""


def write_aedat4(path: Path, events: Sequence[Event], width: int = WIDTH, height: int = HEIGHT) -> None:
    """As iniVation's documentation of AEDAT 4.0 has it: size-prefixed flatbuffers, not compressed."""
    info = AEDAT4_INFO.format(width=width, height=height).encode()
    # A table of three fields: the compression (0), where an index lies (-1: nowhere) and the text.
    header = struct.pack("<I4sHHHHH6xiIqiI", 24, b"IOHE", 10, 20, 16, 8, 4, 16, 16, -1, 0, len(info)) + info + b"\0"
    out = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    for first in range(0, len(events), 64):
        part = events[first : first + 64]
        rows = b"".join(struct.pack("<qhhB3x", t, x, y, p) for x, y, t, p in part)
        packet = struct.pack("<I4sHHH2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(part)) + rows
        out += struct.pack("<iiI", 0, len(packet) + 4, len(packet)) + packet
    path.write_bytes(out)


WRITERS = {"evt2.raw": write_evt2, "evt3.raw": write_evt3, "n.bin": write_bin, "a.aedat4": write_aedat4}
NEEDS_AEDAT = pytest.mark.skipif(find_spec("aedat") is None, reason="aedat is not installed: pip install aedat")
FORMATS = [pytest.param(name, marks=NEEDS_AEDAT if name.endswith("aedat4") else ()) for name in WRITERS]


def camera(*shape: int, dt: float = DT) -> nm.SpikingNetwork:
    """A network that passes its input on."""
    nodes = {
        "camera": nir.Input(np.array(shape)),
        "double": nir.Scale(np.full(shape, 2.0)),
        "y": nir.Output(np.array(shape)),
    }
    one = np.ones(shape)
    nodes["lif"] = nir.LIF(tau=2 * dt * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    edges = [("camera", "double"), ("double", "lif"), ("lif", "y")]
    return nm.load(nir.NIRGraph(nodes, edges, metadata={"dt": dt}, type_check=False))


def counted(events: Sequence[Event], steps: int, channels: int, dt_us: int) -> NDArray[np.int64]:
    """The slow way: one event after the other."""
    out = np.zeros((steps, channels, HEIGHT, WIDTH), int)
    for x, y, t, p in events:
        step = (t - events[0][2]) // dt_us
        if step < steps:
            out[step, p if channels == 2 else 0, y, x] += 1
    return out


@pytest.mark.parametrize("name", FORMATS)
def test_recordings_are_counted_by_pixel_and_step(name: str, tmp_path: Path) -> None:
    events = random_events(0) + [(x, 4, 61_000, 1) for x in (1, 2, 5, 11)] + [(0, 0, 61_500, 0), (3, 8, 61_500, 1)]
    WRITERS[name](tmp_path / name, events)
    for dt_us in (1000, 7, 250):
        steps = (events[-1][2] - events[0][2]) // dt_us + 1
        for shape, channels in (((2, HEIGHT, WIDTH), 2), ((1, HEIGHT, WIDTH), 1), ((HEIGHT, WIDTH), 1)):
            run = camera(*shape, dt=dt_us * 1e-6).run(tmp_path / name, steps=None if dt_us == 1000 else 40)
            expected = counted(events, steps if dt_us == 1000 else 40, channels, dt_us)
            np.testing.assert_array_equal(run.inputs["camera"], expected.reshape(-1, *shape))
    if name != "n.bin":  # Whose size is that of N-MNIST's camera.
        flat = camera(2 * HEIGHT * WIDTH).run(tmp_path / name).inputs["camera"]
        np.testing.assert_array_equal(flat, counted(events, len(flat), 2, 1000).reshape(len(flat), -1))


def test_long_recordings_pass_the_ends_of_their_counters(tmp_path: Path) -> None:
    for name, read, last in (
        ("a.bin", read_bin, 2**23),
        ("a2.raw", read_prophesee, 2**26),
        ("a3.raw", read_prophesee, 2**26),
    ):
        events = [(k % 3, k % 5, t, k % 2) for k, t in enumerate(range(1_000, last, last // 90))]
        events += [(1, 1, 2**23 + 7, 0)] if name == "a.bin" else []
        {"a.bin": write_bin, "a2.raw": write_evt2, "a3.raw": write_evt3}[name](tmp_path / name, events)
        got = read(tmp_path / name)
        assert list(zip(*(values.tolist() for values in (got.x, got.y, got.t, got.p)), strict=True)) == events


def test_words_of_evt3_that_few_recordings_have() -> None:
    words = [0x2005, 0x0003, 0x2006]  # Before the first time, and the first line: no events.
    words += [0x8001, 0x2007, 0x6064, 0x2805, 0x7FFF, 0xA001, 0xE000, 0xF123]  # Triggers and others are left out.
    words += [0x8002, 0x2006, 0x4001, 0x3801, 0x4801, 0x5080, 0x4001]  # TIME_HIGH alone; vectors of 12, 8 and 12 go on.
    words += [0x3002, 0x5F03]  # Others from another place on.
    x, y, t, p = decode_evt3(np.array(words))
    expected = [(7, 4096, 0), (5, 4196, 1), (6, 8192, 0), (1, 8192, 1), (12, 8192, 1), (20, 8192, 1), (21, 8192, 1)]
    expected += [(2, 8192, 0), (3, 8192, 0)]
    assert list(zip(x, t, p, strict=True)) == expected and (y == 3).all()


def test_libraries_read_the_same(tmp_path: Path) -> None:
    """Where they are installed: the decoders here against expelliarmus and tonic. expelliarmus's EVT3 adds time."""
    events = random_events(1)
    for name in ("evt2.raw", "n.bin"):
        WRITERS[name](tmp_path / name, events)
    ours = read_prophesee(tmp_path / "evt2.raw")
    expelliarmus = pytest.importorskip("expelliarmus", reason="expelliarmus is not installed")
    theirs = expelliarmus.Wizard(encoding="evt2").read(tmp_path / "evt2.raw")
    for key in "xytp":
        np.testing.assert_array_equal(getattr(ours, key), theirs[key])
    tonic_io = pytest.importorskip("tonic.io", reason="tonic is not installed")
    theirs, ours = (
        tonic_io.read_mnist_file(str(tmp_path / "n.bin"), tonic_io.events_struct),
        read_bin(tmp_path / "n.bin"),
    )
    for key in "xytp":
        np.testing.assert_array_equal(getattr(ours, key), theirs[key])


@pytest.mark.parametrize("name", FORMATS)
def test_bad_recordings_are_one_line(name: str, tmp_path: Path) -> None:
    path, net = tmp_path / name, camera(2, HEIGHT, WIDTH)
    write = WRITERS[name]
    write(path, random_events(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        SignalFileError, match=r"(no multiple of|cannot be read as AEDAT4).*: copy it again, it was cut short"
    ):
        net.run(path)
    events = random_events(3)
    events[7], events[200] = events[200], events[7]
    write(path, events)
    with pytest.raises(
        SignalFileError, match=r"is not in order of time: event \d+ is at [\d,]+ us, after one at .*; sort them"
    ):
        net.run(path)
    write(path, [])
    with pytest.raises(SignalFileError, match="has no events; give a recording that has some"):
        net.run(path)
    size = {} if name == "n.bin" else {"width": WIDTH + 8, "height": HEIGHT}
    write(path, random_events(4, width=WIDTH + 8), **size)
    wanted = "has events at up to x = 19, y = 8" if name == "n.bin" else "is of a sensor of 20 x 9 pixels"
    with pytest.raises(SignalFileError, match=rf"{wanted}, input 'camera' has the shape \(2, 9, 12\); crop or scale"):
        net.run(path)


def test_more_events_than_a_count_holds_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evt2.raw"
    for count in (65_535, 65_536, 65_537):
        write_evt2(path, [(3, 2, 5_000, 1)] * count + [(4, 2, 7_500, 0)])
        if count == 65_535:
            assert camera(2, HEIGHT, WIDTH).run(path).inputs["camera"].max() == count
            continue
        with pytest.raises(
            SignalFileError, match=rf"evt2.raw has {count:,} events of one pixel in a step of 0.001 s.*65,535.*--dt"
        ):
            camera(2, HEIGHT, WIDTH).run(path)


def test_headers_that_say_no_or_another_format_are_one_line(tmp_path: Path) -> None:
    for header, message in (
        (b"% evt 2.1\n% end\n", "its header says EVT 2.1; give a recording in EVT2 or EVT3"),
        (b"% nothing\n% end\n", "its header says no EVT format; give"),
        (b"% evt 3.0", "ends within its header: copy it again"),
    ):
        (tmp_path / "a.raw").write_bytes(header)
        with pytest.raises(SignalFileError, match=message):
            camera(HEIGHT, WIDTH).run(tmp_path / "a.raw")


def nir_file(path: Path, data: object, node: str = "camera", key: str = "spikes") -> Path:
    nir.write_data(path, nir.NIRGraphData({node: nir.NIRNodeData({key: data})}))
    return path


needs_nir_data = pytest.mark.skipif(not hasattr(nir, "read_data"), reason="this nir has no data files")


@needs_nir_data
def test_nir_data_of_every_kind(tmp_path: Path) -> None:
    net = camera(3, 2)
    random = np.random.default_rng(5)
    grid = random.random((2, 9, 6)) < 0.3
    path = nir_file(tmp_path / "a.nir", nir.TimeGriddedData(grid, DT))
    expected = net.run(grid.reshape(2, 9, 3, 2).astype(float)).outputs["y"]
    np.testing.assert_array_equal(net.run(path).outputs["y"], expected)
    np.testing.assert_array_equal(net.run(path, steps=4).outputs["y"], expected[:, :4])
    events = nir.TimeGriddedData(grid, DT).to_event(40, 0.3 * DT)
    path = nir_file(tmp_path / "b.nir", events, "input", "anything")  # The one node, and the one observable.
    np.testing.assert_array_equal(net.run(path).outputs["y"], expected)
    values = np.where(np.isfinite(events.time), random.normal(size=events.idx.shape), 0.0)
    path = nir_file(
        tmp_path / "c.nir", nir.ValuedEventData(events.idx, events.time, events.n_neurons, events.t_max, values)
    )
    slow = np.zeros((2, 9, 6))
    for sample, k in np.argwhere(events.idx >= 0):
        slow[sample, int(events.time[sample, k] // DT), events.idx[sample, k]] = values[sample, k]
    np.testing.assert_array_equal(net.run(path).inputs["camera"].reshape(2, 9, 6), slow)
    twice = nir.ValuedEventData(np.array([[1, 1]]), np.array([[0.0, DT / 4]]), 6, 3 * DT, np.array([[5.0, 7.0]]))
    with pytest.warns(UserNotice, match="1 events share neuron and step with another, and the last of each counts"):
        assert net.run(nir_file(tmp_path / "d.nir", twice)).inputs["camera"].reshape(3, 6)[0, 1] == 7


@needs_nir_data
def test_bad_nir_data_is_one_line(tmp_path: Path) -> None:
    net, grid, path = camera(3, 2), np.zeros((1, 4, 6), bool), tmp_path / "a.nir"

    def events(idx: list[int], time: list[float], t_max: float = 4 * DT) -> nir.EventData:
        return nir.EventData(np.array([idx]), np.array([time]), 6, t_max)

    for data, message in (
        (nir.TimeGriddedData(grid, 2 * DT), r"has steps of 0.002 s, the graph of 0.001 s; give --dt 0.002"),
        (nir.TimeGriddedData(grid[..., :5], DT), "is of 5 neurons, the node has 6"),
        (events([0, 6], [0.0, DT]), "has an event of neuron 6; they are 0 to 5, and -1 is none"),
        (events([0, 1], [DT, 0.0]), "is not in order of time; sort its events"),
        (events([0, 1], [DT, 5 * DT]), "has events before 0 or after its end, t_max = 0.004 s; cut them off"),
        (events([0], [0.0], np.inf), r"has events of shape \(1, 1\), t_max = inf s; give"),
        (events([0], [0.0], 1e9), "are free; run fewer steps"),
    ):
        with pytest.raises((SignalFileError, nm.UserError), match=message):
            net.run(nir_file(path, data))
    with pytest.raises(SignalFileError, match="has no node 'camera'; it has other"):
        net.run(nir_file(path, nir.TimeGriddedData(grid, DT), "other"))
    two = nir.NIRNodeData({"a": nir.TimeGriddedData(grid, DT), "b": nir.TimeGriddedData(grid, DT)})
    nir.write_data(path, nir.NIRGraphData({"camera": two}))
    with pytest.raises(SignalFileError, match="has the observables a, b; name one of them 'spikes'"):
        net.run(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SignalFileError, match="cannot be read as NIR data"):
        net.run(path)
    nir.write(path, nir.NIRGraph.from_list(nir.Scale(np.ones(2))))
    with pytest.raises(SignalFileError, match="is HDF5, but no data file of NIR; write it with nir"):
        net.run(path)


def test_outputs_come_back_as_inputs(tmp_path: Path) -> None:
    net = camera(3, 2)
    x = np.random.default_rng(6).normal(0.4, 1.0, (2, 12, 3, 2))
    run = net.run(x, potentials=["lif"])
    run.save(tmp_path / "a.npy")
    np.testing.assert_array_equal(net.run(tmp_path / "a.npy").inputs["camera"], run.output)
    run.save(tmp_path / "a.npz", ["camera", "double", "lif", "y"])
    with np.load(tmp_path / "a.npz") as file:
        assert set(file.files) == {"output", "camera", "double", "lif", "lif.potential", "y"}
        np.testing.assert_array_equal(file["double"], 2 * x)
        np.testing.assert_array_equal(file["camera"], x)
    with pytest.raises(ArgumentError, match=r"a.npy takes one array, not output, lif, .*; write an .npz"):
        run.save(tmp_path / "a.npy", ["lif"])
    with pytest.raises(ArgumentError, match=r"a.txt must end in .npz, .npy, .nir, .h5, .hdf5"):
        run.save(tmp_path / "a.txt")
    if hasattr(nir, "read_data"):
        run.save(tmp_path / "a.h5", ["double", "lif"])
        nodes = nir.read_data(str(tmp_path / "a.h5")).nodes
        assert {name: set(node.observables) for name, node in nodes.items()} == {
            "y": {"spikes"}, "double": {"values"}, "lif": {"spikes", "voltages"}
        }  # fmt: skip
        np.testing.assert_array_equal(nodes["lif"].observables["voltages"].data.reshape(x.shape), run.potentials["lif"])
        nodes = {"camera": nodes["double"]}
        nir.write_data(tmp_path / "b.h5", nir.NIRGraphData(nodes))
        np.testing.assert_array_equal(net.run(tmp_path / "b.h5").inputs["camera"], 2 * x)


def test_delays_and_loops_are_traced_as_the_reference_has_them(tmp_path: Path) -> None:
    nodes = {"x": nir.Input(np.array([2])), "w": nir.Linear(np.array([[1.0, 0.5], [0.2, 2.0]]))}
    nodes |= {"d": nir.Delay(np.array([2 * DT, 0.0])), "a": nir.IF(*(np.ones(2),) * 2), "y": nir.Output(np.array([2]))}
    edges = [("x", "w"), ("w", "d"), ("d", "a"), ("a", "y")]
    net = nm.load(nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False))
    x = np.random.default_rng(7).normal(size=(6, 2))
    net.run(x).save(tmp_path / "a.npz", ["w", "d"])
    with np.load(tmp_path / "a.npz") as file:
        w = x @ nodes["w"].weight.T
        np.testing.assert_allclose(file["w"], w, rtol=1e-15)
        np.testing.assert_allclose(file["d"], np.stack([np.r_[0, 0, w[:-2, 0]], w[:, 1]], axis=1), rtol=1e-15)


def test_the_commands_read_write_and_draw(tmp_path: Path) -> None:
    nodes = {"camera": nir.Input(np.array([2, HEIGHT, WIDTH])), "s": nir.Scale(np.full((2, HEIGHT, WIDTH), 2.0))}
    one = np.ones((2, HEIGHT, WIDTH))
    nodes |= {"if": nir.IF(r=one, v_threshold=3 * one), "y": nir.Output(np.array([2, HEIGHT, WIDTH]))}
    edges = [("camera", "s"), ("s", "if"), ("if", "y")]
    nir.write(tmp_path / "m.nir", nir.NIRGraph(nodes, edges))
    events = random_events(8)
    write_evt3(tmp_path / "r.raw", events)
    model = [
        sys.executable,
        "-m",
        "neuromorphic.run",
        "--nir",
        str(tmp_path / "m.nir"),
        "--input",
        str(tmp_path / "r.raw"),
    ]
    out = ["--dt", "0.002", "--out", str(tmp_path / "o.npz"), "--trace", "s", "if", "--plot", str(tmp_path / "p.png")]
    subprocess.run([*model, *out], check=True, capture_output=True)
    steps = (events[-1][2] - events[0][2]) // 2000 + 1
    with np.load(tmp_path / "o.npz") as file:
        np.testing.assert_array_equal(file["s"], 2 * counted(events, steps, 2, 2000))
        assert file["output"].any()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    for arguments, message in (
        (["--out", "o.txt"], "--out must end in .npz, .npy, .nir, .h5, .hdf5, got o.txt"),
        (["--out", "o.npz", "--plot", "p.jpg"], "--plot must name a .png file, got p.jpg"),
        (["--out", "o.npy", "--trace", "if"], "--trace needs an --out of several arrays"),
        (["--out", "o.npz", "--trace", "z"], "--trace: 'z' is not a node of the graph; it has camera"),
    ):
        done = subprocess.run([*model, *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
