"""How the check times: by a device whose clock is written down here."""

import numpy as np
import pytest
from ssmref.gpu.check import contenders, grid, racing, timing
from ssmref.gpu.check.grid import Point
from ssmref.gpu.check.racing import run_point
from ssmref.gpu.check.timing import Turns, calls_per_sample, race
from toy_gpu import SCAN, SSD, STEP, Clock

from ssmref.bench.contender import Contender, UnavailableError
from ssmref.bench.rates import Rate
from ssmref.bench.verification import check_small
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import tf32
from ssmref.golden import layers, mamba1, mamba2
from ssmref.ops import OPS


def named(*names):
    return {name: Turns([Clock.named(name)]) for name in names}


def test_every_round_has_everybody_in_an_order_of_its_own():
    clock = Clock(a=1e-3, b=1e-3, c=1e-3)
    samples = race(clock, named("a", "b", "c"), {})
    warm = sum(len(s.warm_up) for s in samples.values())
    rounds = [
        [n[0] for n in clock.log[i : i + 3]] for i in range(warm, len(clock.log), 3)
    ]
    assert len(rounds) == timing.ROUNDS
    assert all(sorted(own) == ["a", "b", "c"] for own in rounds)
    assert len({tuple(own) for own in rounds}) > 3
    assert all(s.median == pytest.approx(1e-3) for s in samples.values())


def test_samples_are_seconds_per_call():
    clock = Clock(fast=2.5e-6)
    found = race(clock, named("fast"), {})["fast"]
    assert calls_per_sample(2.5e-6) == 80
    assert len(clock.log[-1]) == 80
    assert found.median == pytest.approx(2.5e-6)


def test_what_takes_long_has_few_samples():
    found = race(Clock(slow=10.0), named("slow"), {})["slow"]
    assert len(found.seconds) == timing.FEWEST
    assert len(found.warm_up) == timing.WARM_UP_CALLS


def test_copies_take_turns():
    turns = Turns([Clock.named(n) for n in "abc"])
    names = [[call() for call in turns.take(n)] for n in (2, 2, 4)]
    assert names == [["a", "b"], ["c", "a"], ["b", "c", "a", "b"]]


def test_who_raises_leaves_and_the_others_go_on():
    calls = {"n": 0}

    def breaks():
        calls["n"] += 1
        if calls["n"] > 5:
            raise ValueError("no more")

    failed = {}
    found = race(Clock(), {"bad": Turns([breaks]), **named("good")}, failed)
    assert list(found) == ["good"]
    assert str(failed["bad"]) == "no more"
    assert len(found["good"].seconds) > timing.FEWEST


def contender(name, function, workload=SCAN, note=""):
    """Offer a function of NumPy arrays, called by the names of golden."""
    op = OPS[workload.op]

    def prepare(arguments):
        given = {n: v.get() if hasattr(v, "get") else v for n, v in arguments.items()}
        return lambda: function(**given)

    return Contender(name, op.name, prepare, lambda r: flatten(op, r), note=note)


@pytest.fixture
def field(monkeypatch):
    """Let a point have these contenders; return how to run it."""

    def run(*offered, workload=SCAN, clock=None, dtype="float32", rates=None):
        monkeypatch.setattr(racing, "contenders", lambda *_: list(offered))
        clock = clock or Clock()
        found = list(run_point(clock, Point(workload), dtype, rates or {}))
        return {m.implementation: m for m in found}, clock

    return run


def off_by_a_percent(**arguments):
    y, state = mamba1.selective_scan(**arguments)
    return y * np.float32(1.01), state


def right(**arguments):
    return mamba1.selective_scan(**arguments)


def test_who_is_wrong_gets_no_time(field):
    found, clock = field(
        contender("right", right), contender("wrong", off_by_a_percent)
    )
    assert found["right"].status == "measured"
    assert found["right"].check.ratio < 5
    assert len(found["right"].samples.seconds) == timing.ROUNDS
    assert found["wrong"].status == "wrong"
    assert found["wrong"].samples is None
    assert "small sizes" in found["wrong"].reason
    assert clock.log[-1] == "released"


def test_verdicts_come_before_times(field):
    events = []

    class Noting(Clock):
        def seconds(self, calls):
            events.append("time")
            return super().seconds(calls)

    def noting(**arguments):
        events.append("result")
        return right(**arguments)

    _ = field(contender("one", noting), contender("two", noting), clock=Noting())
    assert events[:4] == ["result"] * 4, "small and full sizes, of both"
    assert events[4] == "time"


def test_a_mistake_of_full_sizes_is_found(field):
    def forgets(**arguments):
        y, state = right(**arguments)
        y[:, 33:] = 0
        return y, state

    found, _ = field(contender("forgets", forgets))
    assert found["forgets"].status == "wrong"
    assert "timed result" in found["forgets"].reason


@pytest.mark.parametrize("part", ["y", "final_state"])
def test_the_end_of_a_long_sequence_is_judged(field, monkeypatch, part):
    for name, value in (("LONG", 700), ("LAST", 600), ("JUDGED", 8)):
        monkeypatch.setattr(racing, name, value)
    long = SCAN.resized(length=700)

    def wrong(**arguments):
        y, state = right(**arguments)
        if part == "y" and y.shape[1] > 100:
            y[:, -3] *= 1.5
        if part == "final_state" and y.shape[1] > 100:
            state = state * np.float32(1.5)
        return y, state

    found, _ = field(contender("right", right), contender("w", wrong), workload=long)
    assert found["right"].status == "measured"
    assert "final state, the last 8 tokens" in found["right"].check.places
    assert found["w"].status == "wrong"


def test_what_never_forgets_is_judged_as_a_whole(monkeypatch):
    monkeypatch.setattr(racing, "LONG", 100)
    whole, cut = (
        next(p for p in own if p.length == length)
        for own, length in ((grid.GRID["mamba3"], 4096), (grid.GRID["scan"], 1024))
    )
    seen = []
    monkeypatch.setattr(racing, "sample", lambda w, *_: seen.append(w.sample))
    monkeypatch.setattr(racing, "_end", lambda *_: seen.append("end"))
    for point in (whole, cut):
        own = racing.Race(Clock(), point, np.dtype(np.float32), {})
        _ = list(racing._samples(own, {}))
    assert "length" not in seen[0]
    assert seen[1]["length"] == grid.LAST
    assert seen[2:] == ["end"]


def test_steps_are_replayed_and_also_launched(field):
    step = layers.causal_conv1d_step
    clock = Clock(graph=6e-3)
    clock.l2_bytes = 3000
    found, _ = field(contender("step", step, STEP), workload=STEP, clock=clock)
    copies = found["step"].copies
    assert copies > 1
    assert found["step"].samples.median == pytest.approx(6e-3 / copies)
    assert found["step, eager"].samples.median == pytest.approx(1e-3)


def test_without_a_graph_steps_are_launched(field):
    class NoGraph(Clock):
        def captured(self, calls):
            raise RuntimeError(f"no capture of {len(calls)} calls")

    own = contender("step", layers.causal_conv1d_step, STEP)
    found, _ = field(own, workload=STEP, clock=NoGraph())
    assert found["step"].status == "not available"
    assert "no graph" in found["step"].reason
    assert found["step, eager"].status == "measured"


def test_calls_as_short_as_a_launch_are_replayed(field):
    clock = Clock(graph=6e-5, **{"": 5e-4})
    clock.l2_bytes = 3000
    found, _ = field(contender("right", right), clock=clock)
    copies = found["right"].copies
    assert found["right"].samples.median == pytest.approx(6e-5 / copies)
    assert found["right, eager"].samples.median == pytest.approx(5e-4)


def rounded_as_tf32(x, dt, A, B, C, **options):
    """Multiply numbers of 11 bits."""

    def cut(a):
        return (a.view(np.uint32) + 0x1000 & ~np.uint32(0x1FFF)).view(np.float32)

    return mamba2.ssd(cut(x), dt, A, cut(B), cut(C), **options)


def test_a_stranger_may_be_right_in_tf32(field):
    strangers = contender("theirs", rounded_as_tf32, SSD)
    ours = contender("ssmref.gpu", rounded_as_tf32, SSD)
    found, _ = field(strangers, ours, contender("off", mamba2_off, SSD), workload=SSD)
    assert (found["theirs"].status, found["theirs"].note) == ("measured", "in TF32")
    assert found["ssmref.gpu"].status == "wrong", "ours has to be right in float32"
    assert found["off"].status == "wrong"


def mamba2_off(*args, **options):
    y, state = mamba2.ssd(*args, **options)
    return y * np.float32(1.1), state


def test_ours_in_tf32_is_a_contender_of_its_own():
    by = {c.name: c for c in contenders.contenders(SSD.op, np.dtype(np.float32))}
    exact, coarse = by["ssmref.gpu"], by["ssmref.gpu tf32"]
    assert (exact.note, coarse.note) == ("", "in TF32")
    assert not coarse.whole_signal
    case, dtype = Point(SSD).small_case(), np.dtype(np.float32)
    assert check_small(exact, case, dtype).passed
    assert not check_small(coarse, case, dtype).passed
    with tf32():
        assert check_small(coarse, case, dtype).passed
    low = contenders.contenders(SSD.op, np.dtype(np.float16))
    assert "ssmref.gpu tf32" not in {c.name for c in low}


def test_who_raises_at_the_first_timed_call_gets_no_time(field):
    calls = []

    def third(**arguments):
        calls.append(0)
        if len(calls) > 2:
            raise ValueError("not a third time")
        return right(**arguments)

    found, _ = field(contender("right", right), contender("third", third))
    assert found["right"].status == "measured"
    assert (found["third"].status, found["third"].samples) == ("wrong", None)
    assert "not a third time" in found["third"].reason


def test_inputs_that_have_no_room_are_skipped(field, monkeypatch):
    def full(*_):
        raise MemoryError("26 GB")

    monkeypatch.setattr(racing, "_copies", full)
    found, clock = field(
        contender("right", right), contender("wrong", off_by_a_percent)
    )
    assert (found["right"].status, found["right"].samples) == ("skipped", None)
    assert "26 GB" in found["right"].reason
    assert found["wrong"].status == "wrong"
    assert clock.log == ["released"]


def test_who_is_absent_or_lacks_memory_says_so(field):
    def absent(**_):
        raise UnavailableError("mamba_ssm is not installed")

    def too_large(**_):
        raise MemoryError("4 TB")

    found, _ = field(contender("absent", absent), contender("large", too_large))
    assert (found["absent"].status, found["absent"].reason) == (
        *("not available", "mamba_ssm is not installed"),
    )
    assert found["large"].status == "skipped"
    full = Clock()
    full.free = 1000
    found, clock = field(contender("right", right), clock=full)
    assert found["right"].status == "skipped"
    assert "GB of memory" in found["right"].reason
    assert clock.log == ["released"]


def test_limits_are_by_measured_rates(field):
    rates = {
        "copy": Rate("copy", "B/s", "", (1e9, 2e9)),
        "ex2": Rate("ex2", "1/s", "", (1e6,)),
    }
    found, _ = field(contender("right", right), rates=rates)
    limit = found["right"].limit
    size = 4 * (2 * 40 * 5 * 4 + 2 * 2 * 40 * 3 + 5 * 3 + 2 * 5 + 2 * 5 * 3)
    assert limit.parts["memory"] == pytest.approx(size / 2e9)
    assert limit.parts["special functions"] == pytest.approx(2 * 40 * 5 * 7 / 1e6)
    assert limit.binding == "special functions"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_of_inputs_are_those_of_the_whole(dtype):
    point, own = Point(SCAN.resized(length=5000, batch=3)), np.dtype(np.float32)
    if dtype == "bfloat16":
        from ssmref.conformance.precision import dtype_of

        own = dtype_of(dtype)
    stretch = point.stretch(own)
    assert stretch["u"].shape[1] == grid.PERIOD
    whole = point.repeated(stretch, np, range(3), range(5000))
    part = point.repeated(stretch, np, range(2, 3), range(4000, 4100))
    for name in ("u", "dt", "B", "C", "z"):
        assert whole[name].dtype == own
        np.testing.assert_array_equal(part[name], whole[name][2:, 4000:4100])
    np.testing.assert_array_equal(part["A"], whole["A"])
    u = whole["u"].astype(np.float32)
    assert not (u[0] == u[1]).all(axis=1).any(), "rows begin elsewhere"
    assert part["dt_softplus"] is True


def test_dt_before_softplus_gives_the_steps_of_the_workload():
    point = Point(SCAN)
    call = point.stretch(np.dtype(np.float64))
    dt = np.logaddexp(call["dt"] + call["dt_bias"], 0)
    assert 1e-3 * 0.99 < dt.min() < dt.max() < 0.1 * 1.01


def test_the_grid_covers_the_ops_and_is_distinct():
    points = [point for own in grid.GRID.values() for point in own]
    assert len({point.id for point in points}) == len(points)
    assert len({point.definition for point in points}) == len(points)
    sizes = [(p.rows, p.length) for p in grid.GRID["scan"]]
    assert (1, 16385) in sizes
    assert (1, 2**20) in sizes
    assert {p.rows for p in grid.GRID["steps"]} == {1, 16, 128}
    for point in points:
        assert point.steps == ("step" in point.workload.op)
