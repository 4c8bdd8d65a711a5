from support import scaling_records as made

from ssmref.bench.pages.machine import machine_section
from ssmref.bench.pages.sources import read
from ssmref.bench.pages.summary import summary, title

WIDTH = {"heads": 1, "headdim": 64}


def op(name, n, seconds, who="ssmref.cpu", **more):
    sizes = {"batch": 1, "length": n, **WIDTH}
    return made.timing("op", name, sizes, who, seconds, **more)


def sentence(found, start):
    [one] = [s for s in found if s.startswith(start)]
    return one


def test_a_gpu_is_named_first(tmp_path):
    gpu = {"name": "Example GPU", "compute_capability": "9.0"}
    records = [made.environment(gpu=gpu), op("mamba2.ssd", 64, 1.0)]
    run = read([made.write(tmp_path / "x.jsonl", records)])
    assert title(run) == "Scaling on Example GPU beside Example CPU 3000"
    (section,) = machine_section(run)
    rows = {row.head: row.cells[0].text for row in section.tables[-1].rows}
    assert rows["GPU"] == "Example GPU, compute capability 9.0"


def test_all_that_the_records_show_is_said(run):
    found = summary(run)
    assert title(run) == "Scaling on Example CPU 3000"

    assert "; 3 timed out, 1 wrong, 1 crashed," in sentence(found, "145 points")
    assert sentence(found, "On this machine mamba2.ssd") == (
        "On this machine mamba2.ssd (ssmref.cpu) overtakes attention.attention "
        "(ssmref.cpu) at 1000 tokens (by the quartiles: 966 to 1.01K)."
    )
    time = sentence(found, "Time grows")
    assert "attention.attention (ssmref.cpu) 2.00 ± 0.00;" in time
    assert "golden" not in time
    assert sentence(found, "Measured memory") == (
        "Measured memory of ssmref.cpu is within 10 % of the byte model at 29 of 30 "
        "points; furthest off is mamba2.ssd (ssmref.cpu) at 512 tokens, 1.25 times the "
        "model."
    )
    assert "block.mamba2 256 KiB (at any context)" in sentence(found, "With 4K tokens")
    assert "block.transformer 4.00 MiB (grows with" in sentence(found, "With 4K")
    assert "Steps in time where the data outgrow L2: not seen." in found


def test_nothing_is_said_of_what_is_not_there(run_of):
    found = summary(run_of(op("mamba2.ssd", 64, 0.5)))
    assert found == [
        "1 point measured (float32, 4 threads), every time after its results were "
        "found right."
    ]


def test_the_fastest_attention_is_the_one_that_is_overtaken(run_of):
    points = [
        record
        for n in made.LENGTHS
        for record in (
            op("attention.attention", n, 4e-9 * n * n),
            op("attention.attention", n, 1e-9 * n * n, "peer:torch:sdpa"),
            op("attention.attention", n, 1e-10 * n * n, "ssmref.cpu", form="naive"),
            op("mamba2.ssd", n, 2e-6 * n),
        )
    ]
    text = sentence(summary(run_of(*points)), "On this machine")
    assert "overtakes attention.attention (peer:torch:sdpa) at 1.95K tokens" in text


def test_no_crossing_is_said_too(run_of):
    points = [
        record
        for n in made.LENGTHS
        for record in (
            op("attention.attention", n, 1e-8 * n * n),
            op("mamba2.ssd", n, 1e-8 * n),
            op("mamba1.selective_scan", n, 1.0 * n),
        )
    ]
    found = summary(run_of(*points))
    fast = "mamba2.ssd (ssmref.cpu) is faster than attention.attention (ssmref.cpu) at "
    slow = "mamba1.selective_scan (ssmref.cpu) is faster than attention.attention "
    assert sentence(found, fast).endswith("at every length from 256 to 16K tokens.")
    assert sentence(found, slow).endswith("at no length from 256 to 16K tokens.")


def test_a_step_at_a_cache_is_said(run_of):
    """The data are 2048 bytes for each token: 1 MiB of L2 is passed after 512."""
    points = [
        op("mamba2.ssd", n, 1e-6 * n * (1.6 if n > 512 else 1.0)) for n in made.LENGTHS
    ]
    assert sentence(summary(run_of(*points)), "mamba2.ssd (ssmref.cpu) slows down") == (
        "mamba2.ssd (ssmref.cpu) slows down 1.60 times beyond its usual growth between "
        "512 and 1K tokens, where its data outgrow L2 (1.00 MiB)."
    )


def test_no_step_is_told_from_unstable_times(run_of):
    points = [
        op("mamba2.ssd", n, 1e-6 * n * (1.6 if n > 512 else 1.0)) for n in made.LENGTHS
    ]
    for record in points:
        record["samples"] = [s * f for s in record["samples"][:4] for f in (0.9, 1.1)]
    assert not [s for s in summary(run_of(*points)) if "slows down" in s]


def test_ops_of_other_widths_are_not_compared(run_of):
    narrow = [op("attention.attention", n, 1e-9 * n * n) for n in made.LENGTHS]
    wide = [op("mamba2.ssd", n, 1e-6 * n) for n in made.LENGTHS]
    for record in wide:
        record["sizes"] = record["sizes"] | {"heads": 2}
    found = summary(run_of(*narrow, *wide))
    assert not [s for s in found if "overtakes" in s or "faster" in s]


def test_a_power_that_is_hardly_known_is_called_loose(run_of):
    times = (1e-3, 1e-3, 4e-3, 5e-3, 5e-3)
    points = [op("mamba2.ssd", n, t) for n, t in zip(made.LENGTHS, times, strict=True)]
    text = sentence(summary(run_of(*points)), "Time grows")
    assert text.endswith("(loose, of 4 lengths).")
