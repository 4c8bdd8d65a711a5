"""What docs/vectors.md says is so: its C compiles and reads, its facts hold."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES
from ssmref.conformance.vectors import export

PAGE = Path(__file__).parents[3].joinpath("docs", "vectors.md").read_text()
MAIN = r"""
int main(int count, char **words)
{
    size_t size = strtoul(words[2], NULL, 10);
    float *numbers = npy_read(words[1], size, sizeof(float));
    if (count != 3 || !numbers)
        return 1;
    for (size_t i = 0; i < size; i++)
        printf("%a\n", numbers[i]);
    return 0;
}
"""
COMPILER = shutil.which("cc")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("needs a C compiler named cc")
    folder = tmp_path_factory.mktemp("c")
    (code,) = re.findall(r"```c\n(.*?)```", PAGE, re.DOTALL)
    folder.joinpath("reader.c").write_text(code + MAIN)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    command = [COMPILER, *flags, "reader.c", "-o", "reader"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "reader"


def read(reader, path, count):
    command = [str(reader), str(path), str(count)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_reader_in_c_reads(reader, exported):
    files = sorted(exported.glob("mamba2.ssd/packed/l140/float32/in/*.npy"))
    floats = [f for f in files if np.load(f).dtype == np.float32]
    assert len(floats) == 6
    for path in floats:
        array = np.load(path)
        result = read(reader, path, array.size)
        assert result.returncode == 0
        numbers = [float.fromhex(line) for line in result.stdout.split()]
        assert np.array_equal(np.array(numbers, np.float32), array.reshape(-1))


def test_the_reader_in_c_refuses_another_size(reader, exported):
    path = exported / "mamba2.ssd/packed/l140/float32/in/A.npy"
    size = np.load(path).size
    assert read(reader, path, size).returncode == 0
    for count in (size - 1, size + 1):
        assert read(reader, path, count).returncode == 1
    assert read(reader, path.with_name("no.npy"), size).returncode == 1


def test_the_size_of_frozen_cases_is_as_documented():
    assert f"at most {export.FROZEN_BYTES // 1024} KiB" in PAGE


def test_the_example_of_case_text_is_one(tmp_path):
    case = CASES["mamba2.ssd/everything/b2l99h6p3g3n5"]
    assert len(list(export.write_set(tmp_path, [(case, np.dtype(np.float32))]))) == 1
    (path,) = tmp_path.rglob("case.txt")
    lines = path.read_text().splitlines()
    shown = re.findall(
        r"^    ((?:format|id|op|dtype|in\.|option\.|out\.).*=.*)$", PAGE, re.M
    )
    assert len(shown) == 10
    assert [line for line in lines if line in shown] == shown
