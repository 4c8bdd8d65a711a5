import re
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import scaling_records as made

from ssmref.bench.pages import build
from ssmref.bench.pages.markdown import MARKER, escaped
from ssmref.commands import report as command
from ssmref.commands.report import report


def invoke(*arguments):
    return CliRunner().invoke(report, [str(a) for a in arguments])


def small(*more):
    """Two lengths of two ops: one chart of time, one of throughput."""
    ops = [
        made.timing("op", name, {"batch": 1, "length": n}, "ssmref.cpu", 1e-6 * n)
        for name in ("mamba2.ssd", "attention.attention")
        for n in (64, 128)
    ]
    return [made.environment(), made.rates(), *ops, *more]


@pytest.fixture
def records(tmp_path):
    return made.write(tmp_path / "runs" / "machine" / "x.jsonl", small())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of all records."""
    root = tmp_path_factory.mktemp("report")
    path = made.write(root / "machine" / "x.jsonl", made.records())
    result = invoke(path, "-o", root / "out")
    assert result.exit_code == 0, result.output
    return root / "out"


def test_the_files_of_a_report_are_named(records, tmp_path):
    out = tmp_path / "reports" / "mine"
    result = invoke(records, "-o", out)
    assert result.exit_code == 0
    assert result.stdout == f"{out / 'README.md'}\n{out / 'index.html'}\n"
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "index.html", "time-op.svg", "time-op.png"),
        *("throughput-op.svg", "throughput-op.png"),
    }


def test_every_chart_is_a_picture_that_the_text_shows(written):
    text = (written / "README.md").read_text()
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == [
        *(f"{name}.svg" for name in build.CHARTS if "block" in name),
        *(f"{name}.svg" for name in build.CHARTS if "-op" in name),
        *("memory.svg", "prefill.svg", "decode.svg", "batch.svg", "cache.svg"),
        *("chunks.svg", "state.svg", "forms.svg"),
    ]
    for name in build.CHARTS:
        assert ElementTree.parse(written / f"{name}.svg").getroot().tag.endswith("svg")
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_text_has_the_figures(written):
    text = (written / "README.md").read_text()
    assert text.startswith(MARKER)
    assert "# Scaling on Example CPU 3000" in text
    assert "| mamba2.ssd, ssmref.cpu | 512 µs ● | 1.02 ms ● |" in text
    assert "OOM (predicted) ✕" in text


def test_every_line_of_a_table_has_all_columns(written):
    lines = [*(written / "README.md").read_text().splitlines(), ""]
    counts = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    starts = [i for i, line in enumerate(lines) if line.startswith("|---")]
    assert len(starts) > 10
    for start in starts:
        end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
        assert len(set(counts[start - 1 : end])) == 1, lines[start - 1]


def test_nobody_can_put_an_element_into_the_files(written):
    text = (written / "README.md").read_text()
    assert re.findall(r"(?<!\\)<(?!!-- written)", text) == []
    page = (written / "index.html").read_text()
    assert made.HOSTILE not in page
    assert "document.title='owned'</script>" not in page
    assert page.count("</script>") == 5


def test_the_page_needs_no_network(written):
    page = (written / "index.html").read_text()
    own = unescape(page[: page.index('<script type="application/json"')])
    assert re.findall(r'(?:src|href)="(?!data:|#)(.*?)"', own) == []
    assert "default-src 'none'" in own
    assert page.count("* plotly.js v") == 1


def test_the_same_records_give_the_same_bytes(records, tmp_path):
    for name in ("one", "two"):
        assert invoke(records, "-o", tmp_path / name).exit_code == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path


def test_a_second_report_takes_away_what_it_does_not_have(records, tmp_path):
    assert invoke(records, "-o", tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "mine.svg").write_text("mine")
    single = small()[:3]
    other = made.write(tmp_path / "other.jsonl", single)
    assert invoke(other, "-o", tmp_path / "out").exit_code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "index.html", "mine.svg"}


def test_a_run_that_measured_nothing_has_a_report_without_curves(tmp_path):
    more = {"status": "timed_out", "reason": "the time was used up before"}
    late = [
        made.timing("op", "mamba2.ssd", {"batch": 1, "length": n}, "x", None, **more)
        for n in (64, 128)
    ]
    path = made.write(tmp_path / "run.jsonl", [made.environment(), *late])
    result = invoke(path, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out" / "throughput-op.svg").exists()
    assert "2 timed out" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_a_file_of_somebody_else_is_not_overwritten(records, tmp_path, name):
    own = tmp_path / name
    own.write_text("# mine")
    result = invoke(records, "-o", tmp_path)
    assert result.exit_code == 2
    assert f"{name} was not written by ssmref report" in result.stderr
    assert own.read_text() == "# mine"
    assert not (tmp_path / "time-op.svg").exists()


def test_the_latest_run_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bench_results" / "machine"
    made.write(folder / "2026-01-02-a" / "x.jsonl", small())
    made.write(folder / "2026-01-01-b" / "x.jsonl", [made.environment()])
    result = invoke()
    assert result.exit_code == 0
    assert result.stdout.startswith(str(Path("reports/scaling/README.md")))


def failing(tmp_path, *arguments):
    out = tmp_path / "out"
    result = invoke(*arguments, "-o", out)
    assert result.exit_code == 2
    assert not out.exists()
    return result.stderr


def test_an_empty_folder_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty holds no file of records" in failing(tmp_path, tmp_path / "empty")


def test_no_run_and_no_results_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no folder bench_results here" in failing(tmp_path)
    (tmp_path / "bench_results").mkdir()
    assert "bench_results holds no records" in failing(tmp_path)


def test_records_of_another_schema_are_said(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"format": 7}\n')
    message = failing(tmp_path, path)
    assert "x.jsonl, line 1: format is 7, needed is 1" in message


def test_records_of_two_machines_are_said(tmp_path):
    other = made.environment("f" * 12, cpu="Other CPU")
    path = made.write(tmp_path / "x.jsonl", small(other))
    message = failing(tmp_path, path)
    assert "the records are of 2 machines (Example CPU 3000; Other CPU)" in message


def test_a_folder_that_cannot_be_written_is_said(records, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke(records, "-o", tmp_path / "file" / "out")
    assert result.exit_code == 2
    assert "file" in result.stderr
    assert "Traceback" not in result.output


def test_what_is_not_installed_is_said(records, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "NEEDED", ("numpy", "no_such_package"))
    message = failing(tmp_path, records)
    assert "reports need no_such_package: pip install 'ssmref[bench]'" in message


def test_what_was_only_half_written_is_said_in_the_report(records, tmp_path):
    with records.open("a") as file:
        file.write('{"format": 1, "kind": "meas')
    assert invoke(records, "-o", tmp_path / "out").exit_code == 0
    assert "only half written" in (tmp_path / "out" / "README.md").read_text()


def test_text_is_escaped_for_markdown():
    assert escaped("a|b_c*d`e\nf<g>") == "a\\|b\\_c\\*d\\`e f\\<g\\>"
