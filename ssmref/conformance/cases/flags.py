"""Kinds of bugs: what a case can see, what such a bug does, where it was met.

A case gets its flags from what its row states: a row with an initial state can see
bugs of initial states. Links are to reports and discussions of bugs of that kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Flag:
    """A kind of bug, its effect, and links to reports (after the host's name)."""

    bug: str
    effect: str
    reports: tuple[str, ...] = ()

    @property
    def links(self) -> tuple[str, ...]:
        """The addresses of the reports."""
        return tuple(GITHUB + report for report in self.reports)


FLAGS = {
    "activation": Flag(
        "the activation is left out, applied twice or applied to the state",
        "every output is wrong, but of the right size",
        ("state-spaces/s4/commit/35cc242",),
    ),
    "axes": Flag(
        "two axes are swapped, or one size is used where another is meant",
        "invisible as long as both sizes are equal",
        ("flashinfer-ai/flashinfer/issues/3397",),
    ),
    "batch": Flag(
        "rows of the batch are mixed, or all read the first",
        "single requests are exact, concurrent ones are not",
        ("EricLBuehler/mistral.rs/pull/2357", "ggml-org/llama.cpp/pull/9186"),
    ),
    "bidirectional": Flag(
        "the backward direction is not flipped, before or after",
        "both directions see the past only",
        ("kyegomez/VisionMamba/issues/40", "kyegomez/VisionMamba/issues/3"),
    ),
    "cache": Flag(
        "a cache and its tokens part: wrong row, wrong position, not rolled back",
        "the text stays fluent and drifts off the subject",
        (
            "huggingface/transformers/issues/46612",
            "vllm-project/vllm/issues/39273",
            "sgl-project/sglang/pull/29368",
        ),
    ),
    "chunk-boundary": Flag(
        "the state is lost, rescaled or shifted between chunks or tree nodes",
        "exact within one chunk, wrong beyond",
        (
            "huggingface/transformers/issues/34817",
            "fla-org/flash-linear-attention/pull/84",
        ),
    ),
    "combination": Flag(
        "options that work one by one are applied in a wrong order, or one is lost",
        "seen only where several options meet",
        ("tile-ai/TileOPs/pull/1118",),
    ),
    "conjugates": Flag(
        "C is conjugated, or the conjugates that are not stored are forgotten",
        "outputs off by a factor of two or by their imaginary parts",
        ("state-spaces/s4/issues/120",),
    ),
    "discretisation": Flag(
        "another rule from continuous to discrete time than the model's",
        "small for small steps, wrong for large ones",
        ("state-spaces/mamba/issues/19",),
    ),
    "dt-limit": Flag(
        "dt is not clamped, or to the range of its initialisation",
        "tokens with small or large steps weigh too much or too little",
        ("huggingface/transformers/pull/35154", "ml-explore/mlx-lm/pull/988"),
    ),
    "empty": Flag(
        "no token: a loop that runs once, a state that is not passed on",
        "crashes or garbage for empty sequences of a batch",
    ),
    "extreme-decay": Flag(
        "exponents are subtracted in the wrong order, divided by or inverted",
        "infinite or NaN where a decay underflows",
        (
            "state-spaces/mamba/pull/713",
            "vllm-project/vllm/pull/37501",
            "state-spaces/mamba/issues/352",
        ),
    ),
    "gate": Flag(
        "the gate has another activation or multiplies the wrong term",
        "every output is wrong, but of the right size",
        ("state-spaces/s4/commit/35cc242",),
    ),
    "gate-order": Flag(
        "the norm is taken before the gate instead of after it, or the reverse",
        "training and inference disagree",
        (
            "fla-org/flash-linear-attention/issues/63",
            "huggingface/transformers/pull/32686",
        ),
    ),
    "groups": Flag(
        "heads take their groups in turn (tiled) instead of in blocks (repeated)",
        "exact for one group and for one group per head, wrong between",
        (
            "huggingface/transformers/pull/37533",
            "ggml-org/llama.cpp/pull/15625",
        ),
    ),
    "index": Flag(
        "offsets wrap around at 2^31, grids end at 65535, loops are capped",
        "long sequences read and write far-away memory",
        ("state-spaces/mamba/issues/1015", "state-spaces/mamba/pull/882"),
    ),
    "initial-state": Flag(
        "an initial state is ignored, not decayed, or decayed from a wrong token",
        "chunked prefill and prefix caches give other text than one pass",
        ("vllm-project/vllm/pull/23279", "tile-ai/TileOPs/pull/1557"),
    ),
    "long-memory": Flag(
        "the past is forgotten, or a carried state is rounded to a low precision",
        "invisible with fast decays: nothing old is left to be wrong",
        ("NVIDIA/TensorRT-LLM/pull/14600", "vllm-project/vllm/pull/39032"),
    ),
    "low-rank": Flag(
        "the low-rank term is left out, not conjugated, or its ranks are mixed",
        "S4 turns into S4D",
    ),
    "magnitude": Flag(
        "a constant is added, a tolerance is absolute, a square overflows",
        "large inputs overflow, small ones vanish",
    ),
    "nan": Flag(
        "a NaN of one sequence reaches others, as by a product with a mask of zeros",
        "one bad request spoils those that share its batch",
        ("state-spaces/mamba/issues/352",),
    ),
    "near-zero": Flag(
        "e^x - 1 divided by x where x is small or 0",
        "digits are lost for slow modes; NaN for A = 0",
    ),
    "no-decay": Flag(
        "A = 0 is taken for absent or is divided by",
        "a plain sum is damped, or NaN",
    ),
    "norm-groups": Flag(
        "the norm is taken over all channels instead of over each group",
        "exact for one group, wrong where groups differ in size",
        ("huggingface/transformers/pull/35943", "state-spaces/mamba/pull/910"),
    ),
    "packing": Flag(
        "packed sequences see each other's state or inputs; boundaries inside chunks",
        "the first tokens of every sequence but the first are wrong",
        ("state-spaces/mamba/commit/8ffd905", "vllm-project/vllm/pull/21783"),
    ),
    "padding": Flag(
        "the padding of a last, partial chunk decays the state or adds to it",
        "exact for multiples of the chunk",
        ("state-spaces/mamba/issues/558", "huggingface/transformers/issues/48256"),
    ),
    "parameters": Flag(
        "a stored parameter is transformed twice, not at all, or in a low precision",
        "decays are those of another model; text degrades with its length",
        (
            "lucasjinreal/Crane/pull/99",
            "fla-org/flash-linear-attention/pull/1012",
            "huggingface/transformers/pull/33195",
        ),
    ),
    "positions": Flag(
        "positions start at 0 again behind a cache or in a packed sequence",
        "exact in one pass, wrong when it goes on",
    ),
    "precision": Flag(
        "a sum, a state or an angle is kept in too few digits",
        "errors grow with the number of tokens",
        ("ml-explore/mlx-lm/pull/1028", "state-spaces/s4/commit/e1519d4"),
    ),
    "ranks": Flag(
        "ranks of one token see only themselves, or projections belong to other ranks",
        "exact for a single rank",
    ),
    "residual": Flag(
        "the residual stream is normalised, left out or added twice",
        "a block alone looks right, the blocks behind it are not",
        ("state-spaces/mamba/commit/49ddf83",),
    ),
    "rotation": Flag(
        "other coordinates are paired, or angles are shifted by one token",
        "every implementation agrees with itself, none with another",
        ("state-spaces/mamba/issues/952",),
    ),
    "short": Flag(
        "fewer tokens than the filter is wide, or a single one",
        "the state keeps too few old inputs",
        (
            "fla-org/flash-linear-attention/pull/1141",
            "vllm-project/vllm/pull/56196",
            "huggingface/transformers/pull/46741",
        ),
    ),
    "size-one": Flag(
        "axes of size one are squeezed or broadcast",
        "shapes change, or values are repeated",
        ("EricLBuehler/mistral.rs/pull/2357",),
    ),
    "skip": Flag(
        "D is left out, added twice, or added behind the gate",
        "outputs off by a multiple of the input",
    ),
    "slots": Flag(
        "a state is read from or written to another slot; padding rows are used",
        "requests continue with each other's state",
        ("sgl-project/sglang/pull/30974", "vllm-project/vllm/pull/55601"),
    ),
    "softmax": Flag(
        "scores are scaled twice or not, or the largest is not subtracted",
        "weights too flat or too sharp; overflow for large scores",
    ),
    "softplus": Flag(
        "the bias is added after softplus, or softplus is applied twice or not",
        "all step sizes are wrong",
        ("tile-ai/TileOPs/pull/1118",),
    ),
    "softplus-tail": Flag(
        "softplus without its guards: log(1 + e^x)",
        "infinite above 88, exactly 0 below -17 in float32",
        ("state-spaces/mamba/commit/3854ad8",),
    ),
    "step": Flag(
        "the one-token path is another function than the scan",
        "decoding drifts away from prefill",
        ("state-spaces/mamba/commit/3854ad8", "huggingface/transformers/pull/46741"),
    ),
    "trapezoid": Flag(
        "the weight of the previous token is flipped, or sigmoid applied twice or not",
        "tokens arrive one step early or late",
    ),
    "window": Flag(
        "the buffer of the convolution holds outputs, or its order is reversed",
        "the first tokens after prefill are wrong",
        ("state-spaces/mamba/pull/1027", "vllm-project/vllm/pull/50272"),
    ),
}

# What a row gives, by keyword.
_GIVEN = {
    "accepted": "cache",
    "backward": "bidirectional",
    "cached": "cache",
    "complex_A": "conjugates",
    "dt_limit": "dt-limit",
    "group_size": "norm-groups",
    "initial": "initial-state",
    "lengths": "packing",
    "method": "discretisation",
    "norm_before_gate": "gate-order",
    "nan": "nan",
    "poisoned": "nan",
    "pool": "slots",
    "position": "window",
    "raw": "softplus-tail",
    "rotary_dim": "rotation",
    "scale": "magnitude",
    "silu": "activation",
    "slots": "slots",
    "softplus": "softplus",
    "window": "window",
}
# What a row turns on, by name of the option.
_OPTIONS = {
    "B_bias": "rotation",
    "D": "skip",
    "D_headdim": "skip",
    "dt_bias": "softplus",
    "mimo_o": "ranks",
    "norm_weight": "gate-order",
    "shift_D": "skip",
    "z": "gate",
}
# What only the name of a family says.
_FAMILIES = {
    "bias": "activation",
    "biases": "rotation",
    "conj-sym-off": "conjugates",
    "constant": "axes",
    "decays": "long-memory",
    "dt-range": "extreme-decay",
    "empty": "empty",
    "everything": "combination",
    "far-mean": "precision",
    "far-position": "precision",
    "fast-decay": "extreme-decay",
    "fast-rotation": "rotation",
    "initial-state": "initial-state",
    "large-steps": "extreme-decay",
    "late-maximum": "softmax",
    "long": "index",
    "long-memory": "long-memory",
    "long-sums": "precision",
    "low-rank-off": "low-rank",
    "low-rank-strong": "low-rank",
    "many-channels": "precision",
    "many-modes": "precision",
    "near-zero": "near-zero",
    "no-decay": "no-decay",
    "no-rotation": "rotation",
    "one-token": "short",
    "other-pairing": "rotation",
    "partial-rotation": "rotation",
    "pauses": "no-decay",
    "plain": "axes",
    "poles-beside-node": "precision",
    "reported-shape": "axes",
    "resets": "extreme-decay",
    "sharp": "softmax",
    "size-one": "size-one",
    "slow": "precision",
    "smallest": "size-one",
    "spectrum": "long-memory",
    "stiff": "extreme-decay",
    "trapezoid-left": "trapezoid",
    "trapezoid-right": "trapezoid",
    "turns": "precision",
    "two-tokens": "short",
    "uniform-scores": "softmax",
    "width-less-one": "short",
    "width-seven": "window",
    "width-three": "window",
    "wide-filter": "precision",
    "width-two": "window",
}
# What each op, or each op of a module, can always get wrong.
_OPS = {
    "attention.attention": "softmax",
    "attention.attention_step": "positions",
    "blocks.mlp_block": "residual",
    "blocks.s4_block": "activation",
    "blocks.s4_block_step": "activation",
    "caches": "cache",
    "h3.h3": "discretisation",
    "layers.causal_conv1d": "window",
    "layers.causal_conv1d_step_circular": "window",
    "layers.layer_norm": "magnitude",
    "layers.rms_norm": "magnitude",
    "layers.rms_norm_gated": "gate-order",
    "mamba3.mimo": "trapezoid",
    "mamba3.siso": "trapezoid",
    "parameters": "parameters",
    "s4.s4": "low-rank",
    "s4d.s4d": "conjugates",
    "s5.s5": "axes",
    "stages": "chunk-boundary",
}
# The widest filter of common kernels, and their smallest chunk.
_SHORT = 4
_CHUNK = 16


def flags_of(op: str, name: str, row: dict[str, Any]) -> tuple[str, ...]:
    """Return the flags of a case of this family, from what its row states."""
    options = row.get("options", ())
    found = {flag for key, flag in _GIVEN.items() if row.get(key)}
    found |= {flag for option, flag in _OPTIONS.items() if option in options}
    found |= {flag for family, flag in _FAMILIES.items() if family == name}
    found |= {flag for known, flag in _OPS.items() if known in (op, op.split(".")[0])}
    found |= set(_by_size(row))
    if op.endswith("_step"):
        found.add("step")
    return tuple(sorted(found))


def _by_size(row: dict[str, Any]) -> Iterator[str]:
    length = row.get("length")
    if (row.get("batch") or 1) > 1:
        yield "batch"
    if max(row.get("groups") or 1, row.get("kv_heads") or 1) > 1:
        yield "groups"
    if (row.get("ranks") or 1) > 1:
        yield "ranks"
    if length is not None and 0 < length <= _SHORT:
        yield "short"
    if length is not None and length >= _CHUNK - 1:
        yield "chunk-boundary"
        if length % _CHUNK:
            yield "padding"
