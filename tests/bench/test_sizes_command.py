from dataclasses import asdict

import pytest
from click.testing import CliRunner

from ssmref.bench.presets import MODELS
from ssmref.bench.sizes import Shape
from ssmref.commands.bench_sizes import _OWN, sizes


def run(*arguments, status=0):
    result = CliRunner().invoke(sizes, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def cells(output, name):
    [line] = [text for text in output.splitlines() if text.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_all_models_are_listed():
    output = run()
    for name in MODELS:
        assert cells(output, name)
    assert "Transformer" not in output


def test_a_model_stands_beside_a_transformer_like_it():
    output = run("--preset", "mamba2-2.7b", "--seq-len", "128K", "--batch", "100")
    assert "What 100 requests keep, bfloat16" in output
    assert cells(output, "mamba2-2.7b") == ["8.00 GiB", "0 B", "8.00 GiB"]
    like = cells(output, "Transformer like mamba2-2.7b")
    assert like == ["0 B", "31.2 MiB", "3.91 TiB"]


def test_sizes_of_ones_own():
    output = run("--heads", "32", "--kv-heads", "8", "--seq-len", "1K,128K")
    assert cells(output, "attention") == ["0 B", "48.0 KiB", "48.0 MiB", "6.00 GiB"]
    assert cells(output, "Mamba-2") == ["24.6 MiB", "0 B", "24.6 MiB", "24.6 MiB"]


def test_all_heads_have_keys_and_values_unless_told():
    assert run("--heads", "32") == run("--heads", "32", "--kv-heads", "32")


def test_the_dtype_halves():
    wide = cells(run("--layers", "1", "--dtype", "float32"), "attention")
    narrow = cells(run("--layers", "1", "--dtype", "float16"), "attention")
    assert (wide[1], narrow[1]) == ("6.00 KiB", "3.00 KiB")


def test_defaults_are_said():
    for name, value in asdict(Shape()).items():
        words = "as many as --heads" if name == "kv_heads" else value
        assert _OWN[name].endswith(f"[default: {words}]")


MISTAKES = {
    "an unknown model": (("--preset", "mamba2-2.7"), "mamba2-2.7b"),
    "heads that do not divide": (
        ("--heads", "32", "--kv-heads", "5"),
        "--kv-heads is 5, which does not divide the 32 heads",
    ),
    "an odd state": (("--state", "6"), "--state is 6, needed is a multiple of 4"),
    "a length that is none": (("--seq-len", "1X"), "--seq-len: '1X' is no length"),
    "no request": (("--batch", "0"), "--batch"),
    "both": (
        ("--preset", "mamba2-2.7b", "--kv-heads", "8"),
        "--preset has its sizes: --kv-heads cannot be given too",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence(arguments, words):
    output = run(*arguments, status=2)
    assert words in " ".join(output.split())
    assert "Traceback" not in output
