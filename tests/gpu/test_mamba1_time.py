"""Mamba-1 on the GPU: rows cut in time, packs, and the order of threads."""

import numpy as np
import pytest
from hostcupy.settings import using
from mamba1_calls import (
    DTYPES,
    LOW_DTYPES,
    by_time,
    cut,
    floats,
    host,
    inputs,
    on_device,
    packed,
    right,
    same,
    scan,
)
from ssmref.gpu import _mamba1_scan, mamba1
from ssmref.gpu._mamba1_lookback import scan_lookback

CUTS = {
    "real": {"length": 100, "channels": 6, "groups": 3, "state": 5},
    "a-checkpoint": {"length": 130, "channels": 24, "groups": 1, "state": 16},
    "complex": {"length": 67, "complex_A": True},
    "constant": {"length": 50, "B": "constant", "C": "varying"},
}


@pytest.mark.parametrize("length", [16, 40, 128])
@pytest.mark.parametrize("name", CUTS)
def test_rows_cut_in_segments(name, length, monkeypatch):
    cut(monkeypatch, length)
    right(scan, "selective_scan", inputs(1, **CUTS[name]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cut_rows_in_every_dtype(dtype, monkeypatch):
    cut(monkeypatch, 32, rows=2)
    right(scan, "selective_scan", inputs(2, length=75, state=16), dtype)


@pytest.fixture
def by_lookback(monkeypatch):
    """Take the look-back wherever it is possible; count how often it ran."""
    runs = []

    def run(operands):
        runs.append(operands)
        scan_lookback(operands)

    monkeypatch.setattr(_mamba1_scan, "scan_lookback", run)
    monkeypatch.setattr(mamba1, "scan", lambda a: _mamba1_scan.scan(a, "lookback"))
    return runs


# One stretch, several, and more than are looked back at once.
STRETCHES = {
    "one": {"length": 37, "groups": 3, "state": 5},
    "three": {"batch": 2, "length": 600, "channels": 9, "groups": 1, "state": 16},
    "a-window-and-more": {"batch": 1, "length": 8500, "channels": 1, "groups": 1},
}


@pytest.mark.parametrize("name", STRETCHES)
def test_looking_back(name, by_lookback):
    with using(resident=5, seed=3):
        right(scan, "selective_scan", inputs(17, **STRETCHES[name]))
    assert by_lookback


@pytest.mark.parametrize("dtype", LOW_DTYPES)
def test_looking_back_in_low_precision(dtype, by_lookback):
    call = inputs(18, length=300, state=16, initial_state=False)
    right(scan, "selective_scan", call, dtype)
    assert by_lookback


def test_looking_back_in_a_pack(by_lookback):
    call = packed((300, 0, 1, 520, 26), channels=10, groups=2)
    right(scan, "selective_scan", call)
    assert by_lookback


def test_looking_back_by_time_gives_the_same_whoever_comes_first(cupy, by_lookback):
    call = on_device(cupy, inputs(19, length=777, channels=3, groups=1))
    expected = host(mamba1.selective_scan(**call))
    for name in ("u", "dt", "z"):
        call[name] = by_time(cupy, call[name])
    for resident, seed in ((1, 0), (2, 1), (64, 2), (64, 3)):
        with using(resident=resident, seed=seed):
            same(host(mamba1.selective_scan(**call)), expected)
    assert len(by_lookback) == 5


def test_what_cannot_look_back_runs_as_planned(by_lookback):
    right(scan, "selective_scan", inputs(20, complex_A=True))
    right(scan, "selective_scan", inputs(20, B="constant"))
    right(scan, "selective_scan", inputs(20, state=17))
    assert not by_lookback


@pytest.mark.parametrize("length", [8, 24, 1000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_sequences_with_boundaries_inside_tiles(length, dtype, monkeypatch):
    cut(monkeypatch, length)
    call = packed((13, 0, 1, 50, 26), channels=10, groups=2, state=16)
    right(scan, "selective_scan", call, dtype)


def test_a_pack_that_is_cut_is_that_of_its_sequences(cupy, monkeypatch):
    lengths = (13, 0, 41)
    call = packed(lengths)
    cut(monkeypatch, 16)
    y, state = host(mamba1.selective_scan(**on_device(cupy, call)))
    bounds = call["cu_seqlens"]
    for row, start in enumerate(bounds[:-1]):
        own = slice(start, start + lengths[row])
        one = {k: v[:, own] if np.ndim(v) > 2 else v for k, v in call.items()}
        one |= {"initial_state": call["initial_state"][[row]], "cu_seqlens": None}
        y_one, state_one = host(mamba1.selective_scan(**on_device(cupy, one)))
        same((y[:, own], state[[row]]), (y_one, state_one))


@pytest.mark.parametrize("segment", [16, 1000])
def test_results_do_not_depend_on_the_order_of_threads(segment, cupy, monkeypatch):
    cut(monkeypatch, segment)
    call = on_device(cupy, inputs(6, length=40, channels=12, state=16))
    expected = host(mamba1.selective_scan(**call))
    for resident, seed in ((1, 1), (3, 2), (64, 3)):
        with using(resident=resident, seed=seed):
            same(host(mamba1.selective_scan(**call)), expected)


@pytest.mark.parametrize("segment", [16, 1000])
def test_a_nan_stays_in_its_channel_and_in_its_future(segment, monkeypatch):
    cut(monkeypatch, segment)
    call = inputs(7, length=40)
    call["u"][1, 25, 3] = np.nan
    y, state = scan(**{k: floats(v) for k, v in call.items()})
    wrong = np.isnan(y)
    assert wrong[1, 25:, 3].all()
    assert wrong.sum() == 15
    assert np.isnan(state[1, 3]).all()
    assert np.isnan(state).sum() == state.shape[2]
