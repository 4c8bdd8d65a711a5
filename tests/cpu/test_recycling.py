"""Memory of dropped results: never of one that somebody can still see, and bounded."""

import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from ssmref.cpu import recycling
from ssmref.cpu._outputs import LARGE, output
from ssmref.cpu.mamba1 import selective_scan
from ssmref.cpu.recycling import Waiting, keep, new_block

MEBI = 1 << 20


@pytest.fixture(autouse=True)
def waiting(monkeypatch):
    """Nothing waits at first, and nothing stays."""
    own = Waiting(64 * MEBI)
    monkeypatch.setattr(recycling, "WAITING", own)
    monkeypatch.setattr("ssmref.cpu._outputs.WAITING", own)
    return own


def result(size: int = MEBI) -> np.ndarray:
    return output((size // 4,), np.float32)


def place(array: np.ndarray) -> int:
    return array.ctypes.data


VIEWS = {
    "slice": lambda y: y[5:9],
    "view of a view": lambda y: y.reshape(2, -1)[1].view(np.uint32)[::2],
    "transposed": lambda y: y.reshape(4, -1).T,
    "memoryview": memoryview,
    "buffer of a pickle": pickle.PickleBuffer,
    "read-only": lambda y: np.broadcast_to(y, (2, y.size)),
    "from its buffer": lambda y: np.frombuffer(y, np.uint8),
    "in a cycle": lambda y: _cycle(y),
    "pointer": lambda y: y.ctypes.data_as(_FLOATS),
}
_FLOATS = ctypes.POINTER(ctypes.c_float)


def _cycle(y):
    around = [y[:1]]
    around.append(around)
    return around


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_is_used_again_when_all_views_are_gone(view):
    y = result()
    first, seen = place(y), view(y)
    del y
    other = result()
    assert place(other) != first
    del seen
    gc.collect()
    assert first in (place(result()), place(result()))


def test_results_are_arrays_like_others():
    y = output((3, 5, LARGE // 8), np.float64)
    del y
    y = output((3, 5, LARGE // 8), np.float64)
    assert type(y) is np.ndarray
    assert (y.shape, y.dtype) == ((3, 5, LARGE // 8), np.float64)
    assert y.flags.carray
    assert place(y) % 64 == 0
    y[:] = 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(y)), y)
    gone = weakref.ref(y)
    del y
    assert gone() is None


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [(8, 8, True), (8, 7, True), (8, 6, False), (7, 8, False), (64, 1, False)],
)
def test_memory_serves_results_of_about_its_size(waiting, old, new, again):
    waiting.limit = 1 << 30
    del (y := [result(old * MEBI)])[:]
    (held,) = waiting.blocks.values()
    block = weakref.ref(held.memory)
    del held
    y = result(new * MEBI)
    assert (not waiting.blocks) == again
    assert block() is not None
    assert y.nbytes == new * MEBI


def test_the_smallest_that_fits_is_taken(waiting):
    large, small = result(10 * MEBI), result(9 * MEBI)
    places = place(small), place(large)
    del large, small
    assert (place(a := result(9 * MEBI)), place(b := result(9 * MEBI))) == places
    assert a.nbytes == b.nbytes
    assert not waiting.blocks


def test_the_oldest_go_where_it_is_too_much(waiting):
    many = [result(20 * MEBI) for _ in range(4)]
    places = [place(y) for y in many]
    while many:
        del many[0]
    assert len(waiting.blocks) == 3
    kept = [result(20 * MEBI) for _ in range(3)]
    assert {place(y) for y in kept} == set(places[1:])
    del kept
    y = result(65 * MEBI)
    del y
    assert len(waiting.blocks) == 3  # what is more than all may be stays out


def test_memory_is_given_back(waiting):
    many = [result(), result(2 * MEBI)]
    many.clear()
    blocks = [weakref.ref(b.memory) for b in waiting.blocks.values()]
    assert len(blocks) == 2
    keep(3 * MEBI)
    assert [b() is None for b in blocks] == [True, False]
    keep(0)
    assert [b() is None for b in blocks] == [True, True]
    y = result()
    del y
    assert not waiting.blocks


def test_small_results_do_not_wait(waiting):
    y = result(LARGE - 4)
    del y
    assert not waiting.blocks


def test_results_have_memory_of_their_own_while_somebody_counts(waiting):
    y = result()
    del y
    assert waiting.blocks
    tracemalloc.start()
    try:
        y = result()
        assert tracemalloc.get_traced_memory()[0] >= MEBI
        del y
        assert tracemalloc.get_traced_memory()[0] < MEBI
    finally:
        tracemalloc.stop()
    assert len(waiting.blocks) == 1


def test_of_several_who_see_a_block_one_gets_it(waiting):
    class Late(dict):
        def copy(self):
            seen = dict(self)
            self.pop(min(self, default=None), None)  # somebody else was faster
            return seen

    waiting.blocks = Late(enumerate((new_block(100), new_block(100))))
    assert waiting.take(100) is not None
    assert waiting.take(100) is None


def test_threads_never_share_memory(waiting):
    waiting.limit, wrong = 5 * MEBI, []

    def work(number):
        for i in range(200):
            y = result()
            y[:64] = y[-64:] = mine = 1000 * number + i
            z = result()
            z[:64] = -1
            if not (np.all(y[:64] == mine) and np.all(y[-64:] == mine)):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert 0 < sum(b.memory.nbytes for b in waiting.blocks.values()) <= waiting.limit


@pytest.mark.xdist_group("mamba1")
def test_an_op_uses_memory_again_and_says_the_same():
    rng = np.random.default_rng(0)
    u, dt = rng.uniform(0.1, 1.0, (2, 1, 512, 512)).astype(np.float32)
    A, B = -np.ones((512, 1), np.float32), np.ones((1, 512, 1), np.float32)
    y, _ = selective_scan(u, dt, A, B, B)
    first, expected = place(y), y.copy()
    y.fill(np.nan)
    del y
    y, _ = selective_scan(u, dt, A, B, B)
    assert place(y) == first
    np.testing.assert_array_equal(y, expected)


SCRIPT = """
import os
import numpy as np
from ssmref.cpu._outputs import output

kept, cycle = output((1 << 20,), np.float32), [output((1 << 20,), np.float32)]
cycle.append(cycle)
y = output((1 << 20,), np.float32)
place = y.ctypes.data
del y
def child():
    z = output((1 << 20,), np.float32)
    assert z.ctypes.data == place
    z[:] = 7
    assert kept[0] == 5
kept[:] = 5
if hasattr(os, "fork"):
    if (number := os.fork()) == 0:
        child()
        os._exit(0)
    assert os.waitpid(number, 0)[1] == 0
child()
"""


def test_processes_fork_and_end_with_results_alive():
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert (done.returncode, done.stderr) == (0, "")
