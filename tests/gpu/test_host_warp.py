"""Shuffles, votes and matches, against what CUDA says of each lane."""

import numpy as np
import pytest
from hostcupy.module import cupy
from hostcupy.settings import using

CODE = """
#include <ssm_host.h>
extern "C" __global__ void shuffle(const TYPE* in, TYPE* out) {
  out[threadIdx.x] = SHUFFLE(SSM_FULL, in[threadIdx.x], AMOUNT, WIDTH);
}
"""
# Every third lane and the others vote or match apart.
APART = """
#include <ssm_host.h>
extern "C" __global__ void apart(const int* in, unsigned* out) {
  int i = threadIdx.x;
  if (i % 32 % 3 == 0) {
    out[i] = COLLECTIVE(0x49249249u, in[i]);
  } else {
    out[i] = COLLECTIVE(~0x49249249u, in[i]);
  }
}
"""
THREADS = np.arange(64)
LANES = THREADS % 32
TYPES = {"float": np.float32, "int": np.int32, "long long": np.int64}
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])


def source(kind: str, amount: int, width: int) -> np.ndarray:
    """Return for each of 64 threads whose value it gets."""
    first, own = LANES // width * width, LANES % width
    lanes = {
        "": first + amount % width,
        "_up": np.where(own >= amount, LANES - amount, LANES),
        "_down": np.where(own + amount < width, LANES + amount, LANES),
        "_xor": np.where(LANES ^ amount < first + width, LANES ^ amount, LANES),
    }
    return THREADS // 32 * 32 + lanes[kind]


def run(code: str, name: str, given: np.ndarray, out: type, *options: str):
    function = cupy.RawModule(code=code, options=options).get_function(name)
    result = cupy.empty(given.shape, out)
    function((1,), (given.size,), (cupy.asarray(given), result))
    return result.get()


@each_seed
@pytest.mark.parametrize("kind", ["", "_up", "_down", "_xor"])
@pytest.mark.parametrize(("amount", "width"), [(1, 32), (5, 32), (3, 8), (9, 16)])
def test_shuffle_reads_the_lane_that_it_names(kind, amount, width, seed):
    given = np.random.default_rng(amount).standard_normal(64, np.float32)
    shuffle = f"-DSHUFFLE=__shfl{kind}_sync"
    options = shuffle, f"-DAMOUNT={amount}", f"-DWIDTH={width}", "-DTYPE=float"
    with using(seed=seed):
        found = run(CODE, "shuffle", given, np.float32, *options)
    assert (found == given[source(kind, amount, width)]).all()


@pytest.mark.parametrize("kind", TYPES)
def test_shuffles_move_four_and_eight_bytes(kind):
    given = np.arange(64).astype(TYPES[kind]) * 12345678 - 5
    options = "-DSHUFFLE=__shfl_xor_sync", "-DAMOUNT=1", "-DWIDTH=32"
    found = run(CODE, "shuffle", given, TYPES[kind], *options, f"-DTYPE={kind}")
    assert (found == given[THREADS ^ 1]).all()


def bits(lanes: np.ndarray) -> int:
    return sum(1 << int(lane) for lane in lanes)


def group(thread: int) -> np.ndarray:
    """Return the threads that take part with this one."""
    alike = (LANES % 3 == 0) == (LANES[thread] % 3 == 0)
    return THREADS[alike & (thread // 32 == THREADS // 32)]


def expected(collective: str, given: np.ndarray, thread: int) -> int:
    together = group(thread)
    yes = given[together] != 0
    if collective == "__match_any_sync":
        return bits(together[given[together] == given[thread]] % 32)
    if collective == "__ballot_sync":
        return bits(together[yes] % 32)
    return int(yes.any() if collective == "__any_sync" else yes.all())


VOTES = ("__ballot_sync", "__any_sync", "__all_sync", "__match_any_sync")


@each_seed
@pytest.mark.parametrize("collective", VOTES)
@pytest.mark.parametrize("numbers", [[0], [1], [0, 0, 5, 1, 1, 0, 2]], ids=str)
def test_lanes_of_a_mask_vote_among_themselves(collective, numbers, seed):
    given = np.resize(np.array(numbers, np.int32), 64)
    with using(seed=seed):
        found = run(APART, "apart", given, np.uint32, f"-DCOLLECTIVE={collective}")
    assert [*found] == [expected(collective, given, thread) for thread in range(64)]


IN_TURN = """
#include <ssm_host.h>
extern "C" __global__ void in_turn(const int* in, int* out) {
  int i = threadIdx.x, sum = in[i];
  for (int lane = 1; lane < 32; ++lane) {
    unsigned mask = 1u << (lane - 1) | 1u << lane;
    if (!(mask >> i & 1)) continue;
    int before = __shfl_up_sync(mask, sum, 1);
    if (i == lane) sum += before;
  }
  out[i] = sum;
}
"""


@each_seed
def test_lanes_may_meet_in_overlapping_masks_one_after_the_other(seed):
    given = np.arange(32, dtype=np.int32)
    with using(seed=seed):
        assert (run(IN_TURN, "in_turn", given, np.int32) == np.cumsum(given)).all()
