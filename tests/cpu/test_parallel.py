"""Small cases run in one thread: here they, and larger inputs, run in several.

And in memory in which others have left something, as large results do.
"""

import numpy as np
import pytest

from ssmref.conformance.testing import cases, check
from ssmref.cpu import _outputs, layers, recycling
from ssmref.cpu.toolkit import threads
from ssmref.golden import layers as golden
from ssmref.ops import OPS, implementation


@pytest.fixture
def left_over(monkeypatch):
    """Let results of any size begin with NaN: what is not written shows."""
    monkeypatch.setattr(_outputs, "LARGE", 0)

    def take(size):
        block = recycling.new_block(size)
        block.memory.fill(255)
        return block

    monkeypatch.setattr(recycling.WAITING, "take", take)


@pytest.mark.usefixtures("left_over")
def test_what_others_left_is_seen():
    assert np.isnan(_outputs.output((2, 3), np.float32)).all()


@pytest.mark.usefixtures("left_over")
@pytest.mark.parametrize("op", OPS)
def test_core_cases_pass_in_several_threads(op, monkeypatch):
    monkeypatch.setattr(threads, "SERIAL", 0)
    function = implementation(OPS[op], "ssmref.cpu")
    found = cases(op)
    assert found
    for case in found:
        check(function, case, "float32", required=True)


def test_few_operations_are_for_one_thread(monkeypatch):
    if threads.threads() == 1:
        pytest.skip("one thread does everything")
    assert threads.few(threads.SERIAL - 1)
    assert not threads.few(threads.SERIAL)
    monkeypatch.setattr(threads, "SERIAL", 0)
    assert not threads.few(1)
    assert threads.few(0)
    monkeypatch.setattr(threads, "threads", lambda: 1)
    assert threads.few(1 << 40)


@pytest.mark.parametrize("length", [500, 513, 1025])
def test_long_convolution_writes_every_token(length):
    rng = np.random.default_rng(length)
    x, weight = rng.standard_normal((1, length, 300)), rng.standard_normal((300, 4))
    assert x.size > threads.SERIAL
    found, expected = (
        f(x, weight)[0] for f in (layers.causal_conv1d, golden.causal_conv1d)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
