import statistics

import pytest
from support import scaling_records as made

from ssmref.bench.explorers_scans import depth, steps
from ssmref.bench.pages import claims
from ssmref.bench.pages.build import CHARTS, sections
from ssmref.bench.pages.charts import Chart, Panel, Trace, colours
from ssmref.bench.pages.tables import legend, marked
from ssmref.bench.pages.words import of_count


def table(parts, section, name):
    [found] = [t for t in parts[section].tables if t.id == name]
    return found


def chart(parts, section, name):
    [found] = [c for c in parts[section].charts if c.id == name]
    return found


def trace(panel, name):
    [found] = [t for t in panel.traces if t.name == name]
    return found


def row(table, head):
    [found] = [r for r in table.rows if r.head == head]
    return {n: marked(c) for n, c in zip(table.columns[1:], found.cells, strict=True)}


def test_everything_has_its_section(parts):
    assert list(parts) == [
        *("time-block", "throughput-block", "time-op", "throughput-op", "memory"),
        *("inference", "growth", "chunks", "state", "forms", "sizes", "claims"),
        *("machine", "points"),
    ]
    charts = [c for part in parts.values() for c in part.charts]
    assert sorted(c.id for c in charts) == sorted(CHARTS)
    assert not any(c.empty for c in charts)


def test_without_records_there_is_no_section(run_of):
    sizes = {"batch": 1, "length": 64}
    lonely = made.timing("op", "mamba2.ssd", sizes, "ssmref.cpu", 0.5)
    found = [s.id for s in sections(run_of(lonely))]
    assert found == ["sizes", "claims", "machine", "points"]


def test_curves_are_the_medians_and_quartiles_of_the_samples(parts, run):
    panel = chart(parts, "time-op", "time-op").panels[0]
    found = trace(panel, "mamba2.ssd, ssmref.cpu")
    own = {
        t.subject.length: t.samples
        for t in run.timings
        if (t.subject.kind, t.subject.op) == ("op", "mamba2.ssd")
        and t.subject.implementation == "ssmref.cpu"
    }
    assert tuple(found.x) == made.LENGTHS
    assert list(found.y) == [statistics.median(own[n]) for n in found.x]
    quartiles = [statistics.quantiles(own[n], method="inclusive") for n in found.x]
    assert list(found.low) == [q[0] for q in quartiles]
    assert list(found.high) == [q[2] for q in quartiles]
    assert found.tags == (
        *(("op", "mamba2.ssd"), ("implementation", "ssmref.cpu")),
        *(("dtype", "float32"), ("threads", "4")),
    )
    assert "right, error ratio 1.5 of 30" in found.hover[0]


def test_rates_are_tokens_by_time(parts):
    panel = chart(parts, "throughput-op", "throughput-op").panels[0]
    found = trace(panel, "mamba2.ssd, ssmref.cpu")
    assert list(found.y) == pytest.approx([5e5] * 5)
    assert found.low[0] < found.y[0] < found.high[0]
    cells = row(
        table(parts, "throughput-op", "throughput-op-table"), "mamba2.ssd, ssmref.cpu"
    )
    assert cells["4K"] == "500K ●"


def test_limits_are_drawn_once_for_all_implementations(parts):
    panel = chart(parts, "time-op", "time-op").panels[0]
    limits = [t for t in panel.traces if t.provenance == "limit"]
    assert sorted(t.name for t in limits) == sorted(f"limit of {op}" for op in made.OPS)
    assert list(limits[0].y) == pytest.approx([2e-8 * n for n in made.LENGTHS])


def test_a_point_without_a_time_says_why_in_the_table_and_is_not_drawn(parts):
    own = table(parts, "time-op", "time-op-table")
    assert row(own, "mamba2.ssd, ssmref.golden")["16K"] == "timed out ◷"
    panel = chart(parts, "time-op", "time-op").panels[0]
    assert max(trace(panel, "mamba2.ssd, ssmref.golden").x) == 4096
    missing = table(parts, "points", "missing-table")
    reasons = {(r.cells[4].text, r.cells[5].text) for r in missing.rows}
    assert (
        "timed out",
        "would take about 33 s, 12 s of the budget are left",
    ) in reasons
    assert {status for status, _ in reasons} == {
        *("timed out", "✗ wrong", "✗ crashed", "skipped", "not available"),
        "OOM (predicted)",
    }


def test_memory_stands_beside_its_model(parts):
    own = table(parts, "memory", "memory-table")
    naive = "attention.attention_naive, ssmref.golden"
    assert row(own, f"{naive}: measured")["16K"] == "4.00 GiB ●"
    assert row(own, f"{naive}: measured")["128K"] == "OOM (predicted) ✕"
    assert row(own, f"{naive}: by the model")["128K"] == "256 GiB ○"
    panel = chart(parts, "memory", "memory").panels[0]
    assert list(trace(panel, f"{naive}, OOM (predicted)").x) == [2**17]
    assert trace(panel, f"{naive}, by the model").y[-1] == 16 * 2**34 + 256 * 2**17
    assert panel.lines == [("memory of this machine, 16.0 GiB", 2**34)]


def test_disagreement_with_the_model_is_marked(parts):
    rows = table(parts, "memory", "agreement-table").rows
    factors = [r.cells[3].text for r in rows]
    assert [f for f in factors if f.endswith("!")] == ["1.25 !"]
    assert len(factors) == 40


def test_what_allocates_unseen_is_known_by_its_process(run_of):
    model = {"inputs": 8, "outputs": 2**20, "state": 0, "workspace": 0}
    found = [
        made.memory("op", "mamba2.ssd", {"batch": 1, "length": n}, who, model)
        | {"resident_peak": resident, "tracemalloc_peak": peak}
        for n in (64, 128)
        for who, resident, peak in (
            ("peer:torch", 3 * 2**20, None),
            ("ssmref.cpu", 9, 2**20),
        )
    ]
    parts = {s.id: s for s in sections(run_of(*found))}
    own = table(parts, "memory", "memory-table")
    assert row(own, "mamba2.ssd, peer:torch: measured")["64"] == "3.00 MiB resident ●"
    heads = [r.head for r in own.rows]
    # The model is the one of our own paths: nobody else's is shown beside it.
    assert [h for h in heads if "model" in h] == [
        "mamba2.ssd, ssmref.cpu: by the model"
    ]


def test_powers_crossings_and_caches(parts):
    powers = table(parts, "growth", "powers-table")
    time = row(powers, "time: attention.attention, ssmref.cpu")
    assert time["power (95 % interval)"] == "2.00 (2.00 to 2.00) ●"
    assert time["lengths"] == "512 to 16K"
    crossings = table(parts, "growth", "crossings-table")
    first = [r for r in crossings.rows if r.head == "mamba2.ssd, ssmref.cpu"]
    assert [c.text for c in first[0].cells] == [
        *("attention.attention, ssmref.cpu", "from 1000 tokens on"),
        *("966 to 1.01K", "256 to 16K"),
    ]
    steps = table(parts, "growth", "caches-table")
    assert {r.cells[1].text for r in steps.rows} == {"not seen"}


def test_a_slow_attention_alone_is_not_what_is_compared_with(parts):
    rows = table(parts, "growth", "crossings-table").rows
    against = {(r.head, r.cells[0].text) for r in rows}
    golden, cpu = "mamba2.ssd, ssmref.golden", "attention.attention, ssmref.cpu"
    assert (golden, cpu) in against
    assert (
        "mamba2.ssd, ssmref.cpu",
        "attention.attention, ssmref.golden",
    ) not in against


def test_inference(parts):
    own = parts["inference"]
    assert [c.id for c in own.charts] == ["prefill", "decode", "batch", "cache"]
    requests = table(parts, "inference", "requests-table")
    found = [r for r in requests.rows if r.head == "block.transformer"]
    assert [marked(c) for c in found[-1].cells] == [
        *("float32", "4K", "4.00 MiB ○", "400 MiB ○", "3.91 GiB ○"),
    ]
    batch = chart(parts, "inference", "batch").panels[0].traces[0]
    assert list(batch.x) == [1, 4, 16, 64]
    assert batch.y[2] == pytest.approx(16 / (1e-4 * 16**0.6))


def test_chunks_have_time_workspace_and_error_in_one_chart(parts):
    time, workspace, error = chart(parts, "chunks", "chunks").panels
    assert list(time.traces[0].x) == [16, 32, 64, 128, 256]
    assert list(workspace.traces[0].y) == [4096 * q for q in time.traces[0].x]
    assert list(error.traces[0].y) == [q / 40 for q in time.traces[0].x]
    assert error.lines == [("limit", 30.0)]


def test_chunks_have_their_memory_in_the_table(parts):
    rows = table(parts, "chunks", "chunks-table").rows
    texts = [[c.text for c in r.cells] for r in rows]
    # The model is the one of ssmref.cpu, and these are of another.
    assert [t[2] for t in texts] == [""] * 5
    assert [t[3] for t in texts][:2] == ["576 KiB", "640 KiB"]


def test_what_is_kept_stands_beside_the_memory(parts):
    kept = table(parts, "memory", "kept-table")
    heads = [r.head for r in kept.rows]
    assert "attention.attention, ssmref.cpu: cache of keys and values" in heads
    assert "mamba2.ssd, ssmref.cpu: state" in heads
    assert set(row(kept, "mamba2.ssd, ssmref.cpu: state").values()) >= {"4.00 KiB ○"}


def test_states_and_forms(parts):
    state = chart(parts, "state", "state").panels[0].traces
    assert [list(t.x) for t in state] == [[16, 32, 64, 128]] * 2
    forms = table(parts, "forms", "forms-table")
    assert [r.head for r in forms.rows[::2]] == [
        *("scan.scan_sequential, ssmref.golden", "scan.scan_blelloch, ssmref.golden"),
    ]
    length, *counts = (cell.text for cell in forms.rows[-1].cells[:4])
    expected = steps("blelloch", 1024), depth("blelloch", 1024)
    assert (length, *counts[:2]) == ("1K", *map(of_count, expected))
    assert forms.rows[0].cells[3].text == "1.02M"


def test_the_machine(parts):
    rates = table(parts, "machine", "rates-table")
    assert row(rates, "triad")["best"] == "20.0 GB/s ●"
    environment = table(parts, "machine", "environment-table")
    assert row(environment, "CPU") == {made.ENVIRONMENT: "Example CPU 3000, 4 logical"}


def test_shares_are_of_the_same_rounds_where_these_have_rates(run_of):
    """The limit of the made-up records is by products: 50 %, then 1e-6 s of 4e-6 s."""
    sizes = {"batch": 1, "length": 100}
    old = made.timing("op", "mamba2.ssd", sizes, "older", 4e-6)
    new = made.timing("op", "mamba2.ssd", sizes, "newer", 4e-6)
    new["limit"] = {"memory": 2e-6, "vector": 0.0}
    speeds = {"triad": 2.048e11, "triad_same_size": 1.024e11, "fma_float32": 1e12}
    # The machine is slower and slower, and so is the time.
    slower = [s / 4e-6 for s in new["samples"]]
    new["rates"] = [
        {"name": n, "unit": "B/s", "method": "C", "samples": [v / s for s in slower]}
        for n, v in speeds.items()
    ]
    [part] = [s for s in sections(run_of(old, new)) if s.id == "points"]
    [found] = [t for t in part.tables if t.id == "points-table"]
    shown = [
        dict(zip(found.columns[1:], map(marked, r.cells), strict=True))
        for r in found.rows
    ]
    shares = [(s["% of limit"], s["% of triad"]) for s in shown]
    assert shares == [("50", ""), ("25", "50")]


def test_every_sign_that_is_used_is_explained(parts):
    tables = [t for part in parts.values() for t in part.tables]
    signs = {c.mark for t in tables for r in t.rows for c in r.cells} - {""}
    assert len(legend(tables)) == len(signs) >= 5


def test_every_row_has_a_cell_for_each_column(parts):
    for part in parts.values():
        for own in part.tables:
            assert {len(r.cells) + 1 for r in own.rows} == {len(own.columns)}, own.id


def test_quoted_figures_stand_below_ours(run, monkeypatch):
    entry = {
        "who": "a tutorial",
        "values": {"1024": "4 MB", "819200": "OOM"},
        "source": "https://example.org/a",
        "note": "Which configuration is meant is not said.",
    }
    data = {"quoted": {"memory": [entry], "throughput": [entry]}, "published": []}
    monkeypatch.setattr(claims, "_data", lambda: data)
    parts = {s.id: s for s in sections(run)}
    own = table(parts, "memory", "memory-table")
    cells = row(own, "a tutorial: commonly quoted")
    assert cells["1K"] == "4 MB ❞"
    assert cells["800K"] == "OOM ❞"
    assert cells["4K"] == ""
    assert own.rows[-1].cells[2].link == "https://example.org/a"
    assert "Which configuration" in own.note
    blocks = table(parts, "throughput-block", "throughput-block-table")
    assert row(blocks, "a tutorial: commonly quoted")["1K"] == "4 MB ❞"


def test_published_claims_have_a_section(run, monkeypatch):
    claim = {
        "publication": "A paper",
        "claim": "five times faster",
        "source": "https://example.org/paper",
        "hardware": "a GPU",
        "provenance": "figure only",
    }
    data = {"quoted": {}, "published": [claim, claim]}
    monkeypatch.setattr(claims, "_data", lambda: data)
    [own] = {s.id: s for s in sections(run)}["claims"].tables
    assert [r.head for r in own.rows] == ["1", "2"]
    assert [marked(c) for c in own.rows[0].cells] == [
        *("five times faster ❞", "a GPU", "", "", "figure only", ""),
    ]


@pytest.mark.parametrize(
    "wrong", [{"y": [1.0]}, {"low": [1.0]}, {"hover": []}, {"provenance": "guessed"}]
)
def test_a_curve_that_does_not_fit_together_is_refused(wrong):
    good = {"x": [1, 2], "y": [3.0, 4.0], "hover": ["a", "b"]}
    with pytest.raises(ValueError, match="name"):
        Trace(**{"name": "name", "group": "", "tags": (), **good, **wrong})


def test_curves_of_one_op_have_a_colour_for_each_implementation(parts):
    many = colours(chart(parts, "time-op", "time-op"))
    ssd = [n for name, n in many.items() if "mamba2.ssd" in name]
    assert len(ssd) == 3
    assert len(set(ssd)) == 1
    assert len(set(many.values())) == 3
    both = [
        Trace(who, [1], [1.0], [""], group="op", tags=(), style=who) for who in "ab"
    ]
    one = Chart("id", "title", "x", [Panel("y", "s", both)])
    assert colours(one) == {"a": 0, "b": 1}
