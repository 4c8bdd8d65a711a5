import pytest
from support import scaling_records as made

from ssmref.bench.pages import words
from ssmref.bench.pages.points import subject
from ssmref.bench.pages.series import labels

TEXTS = [
    (words.digits, 99.96, "100"),
    (words.digits, 0.001234, "0.00123"),
    (words.digits, 9.995, "9.99"),
    (words.digits, 0, "0"),
    (words.digits, 123456, "123456"),
    (words.of_bytes, 0, "0 B"),
    (words.of_bytes, 1000, "1000 B"),
    (words.of_bytes, 1024, "1.00 KiB"),
    (words.of_bytes, 1.5 * 2**30, "1.50 GiB"),
    (words.of_bytes, 2**20 - 1, "1.00 MiB"),
    (words.of_bytes, 2**52, "4096 TiB"),
    (words.of_seconds, 1.0, "1.00 s"),
    (words.of_seconds, 0.0123, "12.3 ms"),
    (words.of_seconds, 1e-7, "0.100 µs"),
    (words.of_seconds, 0.99999, "1.00 s"),
    (words.of_count, 999.9, "1.00K"),
    (words.of_count, 12345, "12.3K"),
    (words.of_count, 5e9, "5.00G"),
    (words.of_length, 512, "512"),
    (words.of_length, 819200, "800K"),
    (words.of_length, 2**20, "1M"),
    (words.of_length, 1945.6, "1.90K"),
    (words.listed, ["a", "b", "c"], "a, b and c"),
    (words.listed, ["a"], "a"),
    (words.spoken, "op, who, float32", "op (who, float32)"),
    (words.spoken, "op", "op"),
]


@pytest.mark.parametrize(("function", "value", "text"), TEXTS)
def test_texts(function, value, text):
    assert function(value) == text


def named(**changes):
    sizes = {"batch": 1, "length": 64, "heads": 2}
    record = made.timing("op", "a.b", sizes, "ssmref.cpu", 1.0)
    return subject(record | changes)


def test_labels_have_as_few_words_as_tell_them_apart():
    assert labels([named()]) == ["a.b, ssmref.cpu"]
    assert labels([named(), named(dtype="float64")]) == [
        *("a.b, ssmref.cpu, float32", "a.b, ssmref.cpu, float64"),
    ]
    assert labels([named(), named(implementation="x", dtype="float64")]) == [
        *("a.b, ssmref.cpu", "a.b, x"),
    ]
    other = named(sizes={"batch": 1, "length": 64, "heads": 3})
    assert labels([named(), other]) == [
        *("a.b, ssmref.cpu, heads 2", "a.b, ssmref.cpu, heads 3"),
    ]


def test_what_differs_in_its_length_has_one_label():
    longer = named(sizes={"batch": 1, "length": 128, "heads": 2})
    assert labels([named(), longer]) == ["a.b, ssmref.cpu"] * 2
    assert labels([]) == []


def test_a_published_model_is_named_and_not_mixed_with_another():
    blocks = [
        named(op="block.mamba2", workload=f"block.mamba2/b1l64e768{model}")
        for model in ("", ":mamba2-130m", ":bamba-9b")
    ]
    assert labels(blocks) == [
        "block.mamba2, ssmref.cpu",
        "block.mamba2, ssmref.cpu, mamba2-130m",
        "block.mamba2, ssmref.cpu, bamba-9b",
    ]
