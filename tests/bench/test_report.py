import io
import re

import pytest
from rich.console import Console

from ssmref.bench import report
from ssmref.bench.limits import Limit
from ssmref.bench.measure import Samples
from ssmref.bench.run import Measurement
from ssmref.bench.verification import Check
from ssmref.bench.workloads import WORKLOADS

SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan")
PASSED = Check(True, 1.5, ("small sizes",))


def timed(name, *seconds, workload=SCAN):
    return Measurement(
        *(workload, "float32", 4, name, "measured", Limit({"memory": 0.01})),
        check=PASSED,
        samples=Samples(seconds),
    )


def dropped(name, status, reason):
    limit = Limit({"memory": 0.01})
    return Measurement(SCAN, "float32", 4, name, status, limit, reason=reason)


FOUND = [
    timed("peer:torch:loop", 4.0, 4.0),
    timed("peer:jax:scan", 2.0, 2.0),
    timed("yardstick:c", 0.025, 0.025),
    timed("ours", 0.02, 0.02, 0.03),
    dropped("wrong.package", "wrong", "y is off"),
]


def printed(table, width):
    console = Console(width=width, file=io.StringIO())
    with console.capture() as text:
        console.print(table)
    return text.get()


def test_a_line_compares_with_best_peer_yardstick_and_limit():
    ours = next(m for m in FOUND if m.implementation == "ours")
    assert report.cells(ours, FOUND) == (
        *("20", "20-25", "0.01", "0.8", "50", "-"),
        "pass 1.5",
    )


def test_without_a_verdict_there_is_no_figure():
    wrong = FOUND[-1]
    assert report.cells(wrong, FOUND) == (*"------", "wrong")
    assert "wrong.package: wrong: y is off" in list(report.notes(FOUND))


def test_ours_come_first_then_the_fastest():
    order = [m.implementation for m in report.in_order(FOUND)]
    assert order == [
        *("ours", "wrong.package"),
        *("yardstick:c", "peer:jax:scan", "peer:torch:loop"),
    ]


def test_with_nobody_to_compare_with_there_is_no_ratio():
    alone = [timed("ours", 1.0)]
    assert report.cells(alone[0], alone)[2:4] == ("-", "-")


def test_the_table_fits_into_a_terminal():
    longest = timed("peer:jax:associative_scan", 6.7891e-5, 9.4321e-5)
    text = printed(report.table([*FOUND, longest]), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "peer:jax:associative_scan" in text
    assert "0.0745-0.0877" in text
    assert "limit 10 ms by memory" in re.sub(r"\s+", " ", text)


def test_unstable_figures_are_noted():
    (note,) = report.notes([timed("shaky", 1.0, 2.0, 3.0)])
    assert note.startswith("shaky: unstable")


def test_what_is_faster_than_the_limit_is_noted():
    (note,) = report.notes([timed("fast", 0.009, 0.009)])
    assert note.startswith("fast: faster than the limit")
    assert list(report.notes([timed("fine", 0.011, 0.011)])) == []


def test_markdown_has_the_figures_and_escapes_bars(rates):
    bad = dropped("a", "wrong", "x | y\nz")
    text = report.markdown([FOUND, [bad]], rates)
    assert "| ours | 20 | 20-25 | 0.01 | 0.8 | 50 | - | pass 1.5 |" in text
    assert "x \\| y z" in text
    assert "| triad | 10 G" in text
    rows = [line for line in text.splitlines() if line.startswith("| ours")]
    assert all(line.count("|") == 9 for line in rows)


@pytest.mark.parametrize("power", [1.0, 1.03, 2.0])
def test_the_exponent_of_a_power_is_found(power):
    points = [(n, 3e-9 * n**power) for n in (1024, 4096, 65536)]
    assert report.exponent(points) == pytest.approx(power)


def test_growth_is_said_where_there_are_several_lengths():
    growing = [w for w in WORKLOADS if w.group == "growth" and w.op == SCAN.op]
    found = [timed("ours", w.sizes["length"] * 1e-6, workload=w) for w in growing]
    (line,) = report.growth(found)
    assert line == (
        "mamba1.selective_scan, ours: time grows as length to the power 1.000 "
        "from 1024 to 1048576"
    )
    assert list(report.growth(found[:1])) == []
    assert list(report.growth(FOUND)) == []
