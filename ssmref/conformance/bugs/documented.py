"""What is known of bugs in this field, and what became of each here.

`DOCUMENTED` are the ids under which they are collected. Each is a bug of the zoo (by
`Bug.documented`), waits for something (`PENDING`), or has no wrong mathematics that
could be written down and only keeps the shape of its input (`REGRESSIONS`).
"""

_GRADIENT = "a bug of the backward pass: waits for golden gradients"

PENDING: dict[str, str] = {
    "conv-bwd-dweight-varlen-batch": _GRADIENT,
    "conv-bwd-noncontig": _GRADIENT,
    "conv-bwd-short-chunk": _GRADIENT,
    "norm-groups-bwd": _GRADIENT,
    "scan-bwd-lane-mask": _GRADIENT,
    "softplus-bwd-uses-ddt": _GRADIENT,
    "ssd-bwd-ddA-pointer": _GRADIENT,
    "ssd-mask-after-exp-nan": _GRADIENT,
}

# Causes in compilers and hardware, or unknown: the ids of cases of the same shape.
REGRESSIONS: dict[str, tuple[str, ...]] = {
    "ggml-scan-nmse161": ("mamba1.selective_scan/plain/b2l37d5n3",),
    "ggml-scan-warp64": ("mamba1.selective_scan/long-memory/l300d3",),
    "m3-blackwell-pipeline": ("mamba3.siso/chunks/l193h2",),
    "mambapy-pscan-mismatch": ("mamba1.selective_scan/large-steps/l50",),
}

DOCUMENTED: tuple[str, ...] = (
    "dt-softplus-no-guard",
    "softplus-bwd-uses-ddt",
    "dt-clamp-init-range",
    "a-log-double-exp",
    "a-log-lowprec-exp",
    "m3-decay-precedence",
    "m3-decay-activation-drift",
    "groups-tile-hf",
    "groups-tile-ggml",
    "norm-groups-ignored",
    "norm-groups-bwd",
    "norm-gate-order",
    "s4-step-no-activation",
    "mlp-residual-overwrite",
    "bcdt-norm-missing",
    "mup-multipliers-missing",
    "bidir-not-flipped",
    "s4-cauchy-pair-merge",
    "conv-state-post-conv",
    "conv-short-chunk-wrong-block",
    "conv-varlen-no-reset",
    "conv-bwd-short-chunk",
    "conv-bwd-noncontig",
    "conv-bwd-dweight-varlen-batch",
    "conv-pad-rows-uninit",
    "conv-spec-no-rollback",
    "ssd-interchunk-axis",
    "ssd-init-boundary-offset",
    "ssd-init-decay-from-chunk-start",
    "ssd-init-flag-drop",
    "ssd-h-grid-index",
    "ssd-exp-positive-diff",
    "ssd-mask-after-exp-nan",
    "ssd-bwd-ddA-pointer",
    "ssd-index-overflow",
    "ssd-prefill-state-bf16",
    "ssd-dstate-eq-chunk",
    "ssd-mask-not-sliced",
    "scan-bwd-lane-mask",
    "ggml-scan-warp64",
    "ggml-scan-smem-race",
    "ggml-scan-nmse161",
    "mambapy-pscan-mismatch",
    "cache-multitoken-as-step",
    "cache-right-pad",
    "cache-left-pad-mask",
    "cache-beam-reorder",
    "cache-init-gated-by-track",
    "cache-block-incomplete",
    "cache-block-units",
    "cache-padded-tail",
    "cache-spec-no-rollback",
    "cache-tp-slice",
    "mistralrs-lfm2-batch",
    "m3-blackwell-pipeline",
    "m3-step-tile-oob",
    "m3-rope-pairing",
)
