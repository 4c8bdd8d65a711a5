"""The figures of others: what claims.json says about them is true by arithmetic."""

import math
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ssmref.bench import costs
from ssmref.bench.bytes import naive_attention_bytes
from ssmref.bench.pages import claims
from ssmref.bench.pages.words import of_bytes
from ssmref.bench.presets import MODELS
from ssmref.bench.sizes import kept, of_model, transformer_like
from ssmref.models.blocks import AttentionConfig, LayerConfig

UNITS = {"MB": 2**20, "GB": 2**30}
LENGTHS = {1024, 8192, 32768, 131072, 819200}
COLUMNS = {"publication", "claim", "source", *claims.COLUMNS}


def quoted(table, who):
    [found] = [q for q in claims.quoted(table) if q.who == who]
    return found


def number(text) -> Any:
    """Return the bytes or tokens per second of a quotation, None for OOM."""
    found = re.fullmatch(r"~?(\d+)(?: (MB|GB)|K)", text)
    return found and int(found[1]) * UNITS.get(found[2], 1000)


def power(table, who, first, last):
    """Return the power of length with which the time of a whole sequence grows."""
    values = {n: number(v) for n, v in quoted(table, who).values.items()}
    time = (last / values[last]) / (first / values[first])
    return math.log(time) / math.log(last / first)


def mixer(name) -> Any:
    [(_, layer)] = MODELS[name].layers
    return layer.mixer


def claim(words):
    [found] = [e for e in claims._data()["published"] if words in e["claim"]]
    return found


def test_quoted_attention_is_one_matrix_of_scores_in_float32():
    found = quoted("memory", "attention")
    sizes = {n: number(text) for n, text in found.values.items()}
    assert sizes == {n: 4 * n * n for n in LENGTHS - {819200}} | {819200: None}
    for length in (1024, 8192):
        whole = naive_attention_bytes(
            np.dtype(np.float32), batch=1, length=length, heads=1, headdim=64
        )
        rest = whole["workspace"] - 4 * length * (length + 1)
        assert rest == length**2  # the mask, which the quotation leaves out
    assert of_bytes(4 * 819200**2) == "2.44 TiB"
    assert "2.44 TB" in found.note


def test_quoted_mamba_is_a_kilobyte_per_token_and_no_state():
    found = quoted("memory", "Mamba")
    assert {n: number(v) for n, v in found.values.items()} == {
        n: 1024 * n for n in LENGTHS
    }
    assert 256 * 4 == 512 * 2 == 1024
    assert "256 channels in float32, or of 512 in bfloat16" in found.note
    state = of_model(MODELS["mamba-130m"])
    assert state.per_token == 0
    assert of_bytes(state.bytes("float32", 0)) == "2.67 MiB"
    assert "2.67 MB" in found.note
    assert mixer("mamba-130m").d_inner * 4 == 6 * 1024
    assert "6 KB per token" in found.note


def test_quoted_throughput_of_the_transformer_is_no_attention():
    """Doubling the length four-fold would have to cost more than its square."""
    steep = power("throughput", "Transformer", 8192, 32768)
    assert f"{steep:.2f}" == "2.79"
    assert power("throughput", "Transformer", 1024, 8192) < 2
    note = quoted("throughput", "Transformer").note
    assert "fall 12 times" in note
    assert "power 2.79" in note


def test_quoted_throughput_of_mamba_is_almost_flat():
    powers = [power("throughput", who, 1024, 32768) for who in ("Mamba-1", "Mamba-2")]
    assert [f"{p:.2f}" for p in powers] == ["1.06", "1.06"]
    one, two = (quoted("throughput", who).values for who in ("Mamba-1", "Mamba-2"))
    assert {n: 2 * number(v) for n, v in one.items()} == {
        n: number(v) for n, v in two.items()
    }
    assert "power of 1.06" in quoted("throughput", "Mamba-2").note


def test_every_claim_has_a_source_and_says_how_it_came_about():
    entries = claims._data()["published"]
    assert len(entries) >= 12
    for entry in entries:
        assert entry.keys() == COLUMNS, entry["claim"]
        assert entry["source"].startswith("https://")
        assert entry["provenance"]
        assert entry["checked"]
    publications = [e["publication"] for e in entries]
    runs = 1 + sum(a != b for a, b in pairwise(publications))
    assert runs == len(set(publications)) == len(claims.published())
    assert [len(t.rows) for t in claims.published()] == [
        publications.count(name) for name in dict.fromkeys(publications)
    ]


def test_throughput_of_mamba_rests_on_the_cache():
    cache = transformer_like(MODELS["mamba-1.4b"])
    assert cache
    one = cache.bytes("float16", 2048 + 128)
    other = of_model(MODELS["mamba-1.4b"]).bytes("float16", 2048 + 128)
    assert (of_bytes(one), f"{other / 2**20:.1f}", f"{one / other:.0f}") == (
        *("408 MiB", "7.1"),
        "57",
    )
    checked = claim("4 to 5 times")["checked"]
    assert "408 MiB against 7.1 MiB" in checked
    assert "57 times" in checked


def test_states_of_mamba_2_are_eight_times_those_of_mamba():
    one, two = mixer("mamba-130m"), mixer("mamba2-130m")
    first = one.d_inner * one.d_state
    assert two.nheads * two.headdim * two.d_state == 8 * first
    assert MODELS["mamba-130m"].layers[0][0] == MODELS["mamba2-130m"].layers[0][0]
    assert "8 times" in claim("States of 8 times")["checked"]


def test_the_transformer_of_mamba_3_did_not_fit_and_its_time_is_extrapolated():
    layer = LayerConfig(AttentionConfig(2048, 32, 8))
    llama = kept("Llama-3.2-1B", [(16, layer)])
    tokens = 2 * 16384
    assert llama.bytes("bfloat16", tokens, 128) == 128 * 2**30 > 80e9
    assert llama.bytes("bfloat16", tokens, 16) == 16 * 2**30
    siso = of_model(MODELS["mamba3-siso-1.5b"]).bytes("bfloat16", tokens, 128)
    assert f"{siso / 2**30:.1f}" == "3.1"
    found = claim("976.50 s")
    assert "128 GiB in bfloat16 for 128 sequences of 32768" in found["checked"]
    assert "3.1 GiB" in found["checked"]
    assert "extrapolated" in found["provenance"]
    assert (round(976.50 / 140.61), f"{58.64 / 35.11:.1f}") == (7, "1.7")


def test_operations_of_mimo_are_counted_as_it_is_said():
    sizes = {"batch": 128, "heads": 64, "headdim": 64, "state": 128, "groups": 1}
    ssd = costs.ssd_step(**sizes)
    mimo = costs.mimo_step(**sizes, angles=32, ranks=4)
    work = (mimo.flops + mimo.products) / (ssd.flops + ssd.products)
    assert (f"{work:.1f}", f"{mimo.elements / ssd.elements:.2f}") == ("5.0", "1.08")
    checked = claim("MIMO takes")["checked"]
    assert "5.0 times the operations" in checked
    assert "1.08 times the numbers moved" in checked


@pytest.mark.parametrize(
    ("length", "size"), [(2**15, 4 * 2**30), (2**17, 64 * 2**30), (2**20, 4 * 2**40)]
)
def test_attention_matrices_of_an_article_are_float32(length, size):
    assert length**2 * 4 == size
    assert "one matrix in float32" in claim("4 TB at 1M")["checked"]
