"""Channels without threads: order, waiting, what stays valid; in a process of its own, as Lava sets how all fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.lava

SCRIPT = """
import multiprocessing
from types import SimpleNamespace
import numpy as np
from neuromorphic.lava.compat import mend_lava
mend_lava()
from lava.magma.compiler.channels.pypychannel import CspSelector
from neuromorphic.lava.channels import LeanChannel, Memories, SLOTS

infrastructure = SimpleNamespace(smm=Memories())

def channel(size, shape=(3,)):
    return LeanChannel(infrastructure, "from", "to", shape, np.int32, size)

try:
    channel(SLOTS - 1)
except ValueError as error:
    assert "slots" in str(error)
else:
    raise AssertionError

for shape in ((3,), (5000,)):  # copied, and not
    there = channel(SLOTS, shape)
    def count(port):
        port.start()
        for number in range(20):
            port.send(np.full(shape, number))
    sender = multiprocessing.Process(target=count, args=(there.src_port,))
    port = there.dst_port
    port.start()
    assert not port.probe() and not port.wait(0.01)
    sender.start()
    for number in range(20):
        assert CspSelector().select((port, lambda: "message")) == "message"
        assert port.probe() and (port.peek() == number).all()
        message = port.recv()
        assert message.shape == shape and (message == number).all()
    sender.join()
    assert not port.probe()

small = channel(SLOTS)
small.src_port.start(), small.dst_port.start()
kept = []
for number in range(5):
    small.src_port.send(np.full(3, number))
    kept.append(small.dst_port.recv())
assert [int(message[0]) for message in kept] == list(range(5))
for _ in range(SLOTS):
    assert small.src_port.probe()
    small.src_port.send(np.zeros(3))
assert not small.src_port.probe()
try:
    small.src_port.send(np.zeros(4))
except AssertionError as error:
    assert "(3,)" in str(error)
print("done")
"""


def test_channels() -> None:
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert result.stdout.strip() == "done", result.stderr
