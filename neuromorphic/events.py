"""Recordings of event cameras as inputs: AEDAT4, Prophesee's EVT2 and EVT3, and the ``.bin`` files of N-MNIST.

EVT2, EVT3 and ``.bin`` are decoded here, from their specifications: tonic takes seconds to import, and expelliarmus
1.1.12 adds 4,096 us to EVT3's time where TIME_HIGH has them already. AEDAT4 is read by ``aedat``, as tonic does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import listed
from neuromorphic.errors import PackagesMissingError, SignalFileError
from neuromorphic.execution.record import check_memory
from neuromorphic.graph import Graph
from neuromorphic.hdf5 import reason

AEDAT4, PROPHESEE = b"#!AER-DAT", b"%"
"""How files begin."""
N_MNIST_SIZE = (34, 34)
OVERFLOW_Y, OVERFLOW_US = 240, 2**13
"""Of ``.bin`` files: the y of an entry that is no event, but says that so many microseconds are to be added."""
WORDS: dict[str, np.dtype[Any]] = {"2": np.dtype("<u4"), "3": np.dtype("<u2")}
"""Words of the versions of EVT."""
MOST_EVENTS = int(np.iinfo(np.uint16).max)
"""Events of one pixel in one step that a count holds."""
COPY = "copy it again, it was cut short"


@dataclass(frozen=True)
class Events:
    """A recording.

    Attributes:
        x, y: Pixel, from 0, shape (n,).
        t: Microseconds.
        p: Polarity, 1 where it got brighter, else 0.
        size: Height and width of the sensor; None where the file does not say.
    """

    x: NDArray
    y: NDArray
    t: NDArray[np.int64]
    p: NDArray
    size: tuple[int, int] | None = None


def reader_of(path: Path, start: bytes) -> Callable[[Path], Events] | None:
    """What reads a recording that begins with ``start``; None where it is none.

    The files of N-MNIST have no mark but their name's end, ``.bin``.
    """
    if start.startswith(AEDAT4):
        return read_aedat4
    if start.startswith(PROPHESEE):
        return read_prophesee
    return read_bin if path.suffix == ".bin" else None


def read_bin(path: Path) -> Events:
    """Read a file of N-MNIST or N-Caltech101: 40 bits an event, x (8), y (8), p (1) and t (23), the largest bit first.

    Source: Orchard et al., Frontiers in Neuroscience 9:437, 2015.

    Raises:
        SignalFileError: it was cut short.
    """
    raw = np.fromfile(path, np.uint8)
    if len(raw) % 5:
        raise SignalFileError(f"{path} has {len(raw):,} bytes, no multiple of the 5 of an event: {COPY}")
    x, y, top, middle, low = raw.reshape(-1, 5).T.astype(np.int64)
    t = ((top & 127) << 16 | middle << 8 | low) + OVERFLOW_US * np.cumsum(y == OVERFLOW_Y)
    event = y != OVERFLOW_Y
    return Events(x[event], y[event], t[event], top[event] >> 7)


def read_aedat4(path: Path) -> Events:
    """Read the first stream of events of a file of iniVation's, version 4.

    Raises:
        SignalFileError: it is damaged, or has no events.
        PackagesMissingError: ``aedat`` is not installed.
    """
    try:
        import aedat
    except ImportError:
        raise PackagesMissingError(f"{path} is AEDAT4, which needs aedat: pip install aedat") from None
    try:
        decoder = aedat.Decoder(str(path))
        streams = {number: stream for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"}
        chosen = min(streams, default=None)
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == chosen and "events" in packet]
    except Exception as error:  # RuntimeError of whatever the decoder finds.
        raise SignalFileError(f"{path} cannot be read as AEDAT4 ({reason(error)}): {COPY}, or record it anew") from None
    if chosen is None or not packets:
        raise SignalFileError(f"{path} has no events; give a recording that has some")
    events = np.concatenate(packets)
    size = streams[chosen]["height"], streams[chosen]["width"]
    return Events(events["x"], events["y"], events["t"].astype(np.int64), events["on"].astype(np.int64), size)


def read_prophesee(path: Path) -> Events:
    """Read a ``.raw`` file of Prophesee's, EVT2 or EVT3 as its header says.

    Raises:
        SignalFileError: it is in another format, or was cut short.
    """
    data = path.read_bytes()
    end = 0
    while data[end : end + 1] == PROPHESEE:
        line = data[end : data.find(b"\n", end) + 1]
        if not line:
            raise SignalFileError(f"{path} ends within its header: {COPY}")
        end += len(line)
        if line.strip() == b"% end":
            break
    header = data[:end].decode("latin-1")
    found = re.search(r"^% (?:evt |format EVT)([\d.]+)", header, re.MULTILINE)
    version = found[1].replace(".0", "") if found else ""
    if version not in WORDS:
        said = f"EVT {version}" if version else "no EVT format"
        raise SignalFileError(f"{path}: its header says {said}; give a recording in EVT2 or EVT3")
    word = WORDS[version]
    if (len(data) - end) % word.itemsize:
        raise SignalFileError(
            f"{path} has {len(data) - end:,} bytes after its header, no multiple of {word.itemsize}: {COPY}"
        )
    size = re.search(r"^% geometry (\d+)x(\d+)", header, re.MULTILINE)
    width = size[1] if size else None
    height = size[2] if size else None
    if size is None and (of_format := dict(re.findall(r"(height|width)=(\d+)", header))).keys() == {"height", "width"}:
        height, width = of_format["height"], of_format["width"]
    words = np.frombuffer(data, word, offset=end).astype(np.int64)
    x, y, t, p = decode_evt2(words) if version == "2" else decode_evt3(words)
    return Events(x, y, t, p, None if height is None or width is None else (int(height), int(width)))


def last(where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each word the index of the last one up to it where it holds; -1 before the first."""
    return np.maximum.accumulate(np.where(where, np.arange(len(where)), -1)) if len(where) else np.zeros(0, np.int64)


def unwrapped(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """A counter of so many bits that starts again from 0, as one that goes on."""
    falls = np.diff(values, prepend=values[:1]) < -(2 ** (bits - 1))
    return values + (np.cumsum(falls) << bits)


def decode_evt2(words: NDArray[np.int64]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """EVT 2.0: 32 bits a word, the type in the upper 4. x, y, t and p of the events.

    0, 1: an event of that polarity, t's lower 6 bits, x (11), y (11); 8: t's upper 28 bits. All other types are left
    out, and so are events before the first time. Source: Prophesee's documentation of EVT 2.0.
    """
    kind = words >> 28
    highs = kind == 8
    before = last(highs)
    event = (kind <= 1) & (before >= 0)
    high = np.zeros(len(words), np.int64)
    high[highs] = unwrapped(words[highs] & (2**28 - 1), 28)
    t = (high[before] << 6 | words >> 22 & 63)[event]
    return (words >> 11 & 2047)[event], (words & 2047)[event], t, kind[event]


def decode_evt3(words: NDArray[np.int64]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """EVT 3.0: 16 bits a word, the type in the upper 4. x, y, t and p of the events.

    0: y (11 bits); 2: an event with polarity (1) and x (11); 3: polarity and x of the vectors that follow; 4, 5: a
    vector of 12 or 8 pixels from there on, a bit for each event, after which x is as much further; 6: t's lower 12
    bits; 8: its upper 12, whereupon the lower are 0. Other types are left out, and events before the first y and time.
    Source: Prophesee's documentation of EVT 3.0.
    """
    kind, low = words >> 12, words & 4095
    y_at, base_at, low_at, high_at = (last(kind == k) for k in (0, 3, 6, 8))
    high = np.zeros(len(words), np.int64)
    high[kind == 8] = unwrapped(low[kind == 8], 12)
    t = (high[high_at] << 12) + np.where(low_at > high_at, low[low_at], 0)
    width = np.select([kind == 4, kind == 5], [12, 8], 0)
    passed = np.cumsum(width) - width
    base = (words[base_at] & 2047) + passed - passed[base_at]
    known = (y_at >= 0) & (high_at >= 0)
    single = np.flatnonzero((kind == 2) & known)
    vector = np.flatnonzero((width > 0) & known & (base_at >= 0))
    at, bit = np.nonzero((words[vector, None] >> np.arange(12) & 1) * (np.arange(12) < width[vector, None]))
    word = np.concatenate([single, vector[at]])
    x = np.concatenate([words[single] & 2047, base[vector[at]] + bit])
    p = np.concatenate([words[single], words[base_at[vector[at]]]]) >> 11 & 1
    order = np.argsort(word, kind="stable")
    word = word[order]
    return x[order], words[y_at[word]] & 2047, t[word], p[order]


def binned(path: Path, events: Events, graph: Graph, steps: int | None) -> dict[str, NDArray[np.uint16]]:
    """A recording as input of a graph: the number of events of each pixel in each step.

    Step 0 starts with the first event. The graph has one Input node. Its shape is (2, H, W), with OFF events (p = 0)
    first; (1, H, W) or (H, W), with both polarities added up; or (2 H W,) or (H W,).

    Args:
        path: File of the recording, for error messages.
        events: The recording.
        graph: The graph; its dt is the length of a step.
        steps: Largest number of steps. None: all of the recording.

    Returns:
        The counts by the name of the Input node, shape (T, *shape).

    Raises:
        SignalFileError: there are no events, they are not sorted by time, the sensor has another size, or a pixel has
            more events in a step than the counts hold.
        UnsupportedGraphError: the array does not fit in memory.
    """
    if len(graph.inputs) != 1:
        raise SignalFileError(
            f"{path} is one recording, the graph has the Input nodes {listed(graph.inputs)}; write an .npz"
        )
    (name,) = graph.inputs
    shape, t = graph.nodes[name].shape, events.t
    if not len(t):
        raise SignalFileError(f"{path} has no events; give a recording that has some")
    if (falls := np.flatnonzero(np.diff(t) < 0)).size:
        k = int(falls[0])
        raise SignalFileError(
            f"{path} is not in order of time: event {k + 1} is at {t[k + 1]:,} us, after one at {t[k]:,} us; sort them"
        )
    seen = int(events.y.max()) + 1, int(events.x.max()) + 1
    height, width = events.size or (N_MNIST_SIZE if path.suffix == ".bin" and len(shape) == 1 else shape[-2:])
    sizes = {(2, height, width), (1, height, width), (height, width), (2 * height * width,), (height * width,)}
    if shape not in sizes or seen[0] > height or seen[1] > width:
        what = f"is of a sensor of {events.size[1]} x {events.size[0]} pixels" if events.size else \
            f"has events at up to x = {seen[1] - 1}, y = {seen[0] - 1}"  # fmt: skip
        raise SignalFileError(
            f"{path} {what}, input '{name}' has the shape {shape}; crop or scale the recording to it, or give an .npz"
        )
    step = np.floor((t - t[0]) * 1e-6 / graph.dt + 1e-6).astype(np.int64)
    total = int(step[-1]) + 1
    if steps is not None and steps < total:
        total, kept = steps, step < steps
        step, x, y, p = step[kept], events.x[kept], events.y[kept], events.p[kept]
    else:
        x, y, p = events.x, events.y, events.p
    check_memory(graph, 1, total)
    polar = shape in ((2, height, width), (2 * height * width,))
    pixel = (p.astype(np.int64) * polar * height + y) * width + x
    counts = np.zeros((total, int(np.prod(shape))), np.uint16)
    np.add.at(counts, (step, pixel), 1)
    if counts.sum(dtype=np.int64) != len(step):  # A count that passed the largest began at 0 again.
        most = np.unique(step * counts.shape[1] + pixel, return_counts=True)[1].max()
        raise SignalFileError(
            f"{path} has {most:,} events of one pixel in a step of {graph.dt:g} s, of which {MOST_EVENTS:,} can be "
            "counted; give a smaller time step (--dt)"
        )
    return {name: counts.reshape(total, *shape)}


def read_events(path: Path, read: Callable[[Path], Any], graph: Graph, steps: int | None) -> dict[str, NDArray]:
    """Read a recording as input of a graph; see :func:`reader_of` and :func:`binned`."""
    return dict(binned(path, read(path), graph, steps))
