"""How the selective scan is laid over a GPU."""

import itertools

import numpy as np
import pytest
from ssmref.gpu._mamba1_operands import shared_bytes
from ssmref.gpu._mamba1_plan import Plan, Work, plan, tiling
from ssmref.gpu._segments import packed_segments

# The 130M checkpoint on an H100.
CHECKPOINT = Work(
    state=16,
    numbers=1,
    channels=1536,
    per_group=1536,
    itemsize=2,
    tokens=16384,
    longest=16384,
    processors=132,
)
# Blocks of every GPU since 2020 have so much shared memory.
LEAST_SHARED = 99 * 1024


def changed(**sizes: int) -> Plan:
    return plan(Work(**{**vars(CHECKPOINT), **sizes}))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("per_group", [1, 7, 16, 5120])
def test_every_state_size_has_a_tiling(rows, itemsize, per_group):
    for numbers, state in itertools.product((1, 2), range(1, 513)):
        if numbers * state > 512:
            continue
        t = tiling(state, numbers, per_group, itemsize, rows=rows)
        assert t.states * t.lanes >= state
        assert t.threads in (32, 64, 128, 256, 512)
        assert t.tile in (8, 16, 32)
        assert t.channels % 8 == 0
        assert shared(t, state, numbers, itemsize) <= LEAST_SHARED


def shared(t, state, numbers, itemsize):
    macros = {name.upper(): value for name, value in vars(t).items()}
    word = "float" if itemsize == 4 else "bf16"
    macros |= {"IO": word, "BC": "float" if numbers == 2 else word}
    macros |= {"STATE": state, "PARTS": numbers, "BY_TIME": 1, "GATED": 1}
    return shared_bytes(macros | {"FIXED_B": 0, "FIXED_C": 0})


def test_rows_enough_to_fill_the_gpu_stay_whole():
    many = changed(tokens=64 * 16384)
    assert (many.tiling.rows, many.length) == (2, 16384)


def test_fewer_rows_have_a_channel_for_each_lane():
    some = changed(tokens=8 * 2048, longest=2048)
    assert (some.tiling.rows, some.length) == (1, 2048)


def test_few_long_rows_are_cut_so_that_they_fill_the_gpu():
    few = changed()
    lanes = 1536 * few.tiling.lanes // few.tiling.rows
    assert few.tiling.rows == 2
    assert few.length % 128 == 0
    assert few.length * 4 <= 16384
    assert 0.8 < lanes * 16384 / few.length / (132 * 20 * 32) <= 1


def test_short_rows_are_never_cut():
    for length in (0, 1, 128, 500):
        assert changed(tokens=length, longest=length).length == max(length, 1)


def test_lanes_do_not_share_channels_of_different_groups():
    assert changed(per_group=1, tokens=64 * 16384).tiling.rows == 1


def test_many_states_of_a_lane_leave_no_room_for_two_channels():
    assert changed(state=64, tokens=64 * 16384).tiling.rows == 1
    assert changed(numbers=2, tokens=64 * 16384).tiling.rows == 1


def test_a_pack_is_cut_sequence_by_sequence():
    table, first = packed_segments([0, 5, 5, 12], 4)
    np.testing.assert_array_equal(
        table, [[0, 0, 4, 0], [0, 4, 5, 1], [1, 5, 5, 1], [2, 5, 9, 0], [2, 9, 12, 1]]
    )
    assert first == [0, 2, 3, 5]
