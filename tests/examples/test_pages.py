"""What docs/protocol.md says is so, by running it."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np

from ssmref.conformance import programs
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.programs import program
from ssmref.conformance.run import verify
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
README = (ROOT / "examples" / "README.md").read_text()
OP = "mamba2.ssd_step"
# Options of SSD's step that the program of the page does not have.
ABSENT = {"D", "z", "dt_bias", "dt_softplus", "dt_limit", "slots"}


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def judged(folder, source, families=None):
    (folder / "my_step.py").write_text(source)
    python = shlex.quote(sys.executable)
    command = f"{python} {folder / 'my_step.py'} {{in}} {{out}}"
    cases = [c for c in cases_of(OP) if families is None or c.family in families]
    return list(verify(program(command, [OP]), cases, np.dtype(np.float32)))


def test_program_of_the_page_is_right_where_it_runs(tmp_path):
    (source,) = blocks(PROTOCOL, "python")
    for found in judged(tmp_path, source):
        given = found.case.arguments(np.dtype(np.float32))
        expected = NOT_PROVIDED if ABSENT & set(given) else PASSED
        assert found.status == expected, found
        assert expected == PASSED or found.message.removeprefix("no ") in given


def test_program_of_the_page_is_red_when_it_tiles(tmp_path):
    (source,) = blocks(PROTOCOL, "python")
    right = "np.repeat(X, x.shape[1] // X.shape[1], axis=1)"
    assert right in source
    source = source.replace(right, "np.tile(X, (1, x.shape[1] // X.shape[1], 1))")
    found = judged(tmp_path, source, ("plain", "groups-inner"))
    statuses = {v.case.family: v.status for v in found}
    assert statuses == {"plain": PASSED, "groups-inner": FAILED}


def test_numbers_of_the_page():
    assert f"exit status {programs.NOT_PROVIDED_STATUS} |" in PROTOCOL
    assert f"more than {programs.TIMEOUT_SECONDS:g} s" in PROTOCOL
    assert programs._TAIL_LINES == 5
    assert "the last five lines" in PROTOCOL


def test_links_lead_somewhere():
    for page, text in (("docs", PROTOCOL), ("examples", README)):
        links = re.findall(r"\]\(([^)]+)\)", text)
        assert links
        for link in links:
            assert (ROOT / page / link).exists(), link
