import pytest
from support import scaling_records as made

from ssmref.bench.pages.build import sections
from ssmref.bench.pages.sources import read


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """Return a function that reads made-up records as a run, with an environment."""

    def build(*found):
        path = tmp_path_factory.mktemp("records") / "machine" / "day" / "x.jsonl"
        return read([made.write(path, [made.environment(), *found])])

    return build


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """All made-up records."""
    path = tmp_path_factory.mktemp("records") / "machine" / "2026-01-02-abc" / "x.jsonl"
    return read([made.write(path, made.records())])


@pytest.fixture(scope="session")
def parts(run):
    """The sections of all made-up records, by their ids."""
    return {section.id: section for section in sections(run)}
