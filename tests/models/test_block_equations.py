"""Blocks against transcriptions of the official modules: one row, token by token.

Nothing is shared with the blocks or with golden: vectors, loops and the order of the
official code. The usual mistakes (order of x, B, C; gate before value; a convolution
state of activated values; groups tiled; dt bias twice) each break one of these.
"""

import numpy as np
import pytest
from support.blocks_inputs import CONFIGS, block_inputs
from support.compare import assert_close

from ssmref.models.blocks import MIXERS, MLPConfig, gated_mlp, mlp_shapes

SMALL = 1e-5


def sigma(v):
    return 1 / (1 + np.exp(-v))


def soft(v):
    return np.array([a if a > 20 else np.log(1 + np.exp(a)) for a in v])


def root_mean_square(v):
    return v / np.sqrt(np.mean(v**2) + SMALL)


def project(p, name, v):
    return p[f"{name}.weight"] @ v + p.get(f"{name}.bias", 0.0)


def filtered(p, raw):
    """Return what the convolution gives for the last of the raw vectors."""
    weight, total = p["conv1d.weight"][:, 0], p.get("conv1d.bias", 0.0)
    for back in range(weight.shape[1]):
        if back < len(raw):
            total = total + weight[:, -1 - back] * raw[-1 - back]
    return total


def mamba1(p, x, c):
    inner, state, rank = c.d_inner, c.d_state, c.rank
    h, raw, out = np.zeros((inner, state)), [], []
    for x_t in x:
        xz = project(p, "in_proj", x_t)
        raw.append(xz[:inner])
        u = filtered(p, raw)
        u = u * sigma(u)
        low = p["x_proj.weight"] @ u
        dt = soft(p["dt_proj.weight"] @ low[:rank] + p["dt_proj.bias"])
        B, C = low[rank : rank + state], low[rank + state :]
        for d in range(inner):
            h[d] = np.exp(-dt[d] * np.exp(p["A_log"][d])) * h[d] + dt[d] * B * u[d]
        y = h @ C + p["D"] * u
        z = xz[inner:]
        out.append(project(p, "out_proj", y * z * sigma(z)))
    return np.array(out)


def mamba2(p, x, c):
    H, P, N, G = c.nheads, c.headdim, c.d_state, c.ngroups
    ssm, mlp = H * P, c.d_inner - H * P
    ends = np.cumsum([mlp, mlp, ssm, ssm + 2 * G * N, H])
    h, raw, out = np.zeros((H, P, N)), [], []
    for x_t in x:
        z0, x0, z, xBC, dt = np.split(project(p, "in_proj", x_t), ends[:-1])
        raw.append(xBC)
        xBC = filtered(p, raw)
        xBC = xBC * sigma(xBC)
        dt = np.clip(soft(dt + p["dt_bias"]), *c.dt_limit)
        y = np.zeros(ssm)
        for head in range(H):
            group = head * G // H
            B = xBC[ssm + group * N : ssm + (group + 1) * N]
            C = xBC[ssm + (G + group) * N : ssm + (G + group + 1) * N]
            rows = slice(head * P, (head + 1) * P)
            decay = np.exp(-dt[head] * np.exp(p["A_log"][head]))
            h[head] = decay * h[head] + dt[head] * np.outer(xBC[rows], B)
            D = p["D"][rows] if c.D_has_hdim else p["D"][head]
            y[rows] = h[head] @ C + D * xBC[rows]
        gate = z * sigma(z)
        if not c.rmsnorm:
            y = y * gate
        elif c.norm_before_gate:
            groups = [root_mean_square(part) for part in np.split(y, G)]
            y = np.concatenate(groups) * p["norm.weight"] * gate
        else:
            groups = [root_mean_square(part) for part in np.split(y * gate, G)]
            y = np.concatenate(groups) * p["norm.weight"]
        out.append(project(p, "out_proj", np.concatenate([z0 * sigma(z0) * x0, y])))
    return np.array(out)


def turned(v, theta, halved):
    """Rotate v as complex numbers."""
    v, S = v.copy(), len(theta)
    first, second = np.arange(S) * 2, np.arange(S) * 2 + 1
    if halved:
        first, second = np.arange(S), np.arange(S) + len(v) // 2
    z = (v[first] + 1j * v[second]) * np.exp(1j * theta)
    v[first], v[second] = z.real, z.imag
    return v


def mamba3(p, x, c):
    H, P, N, G, R = c.nheads, c.headdim, c.d_state, c.ngroups, c.rank
    S = int(N * c.rope_fraction) // 2
    halved = c.is_mimo if c.rope_pairing is None else c.rope_pairing == "halved"
    ones = np.ones((H, R, P))
    psi, zeta, phi = (p.get(f"mimo_{name}", ones) for name in "xzo")
    ends = np.cumsum([H * P, H * P, R * G * N, R * G * N, H, H, H, S])
    h, theta = np.zeros((H, P, N)), np.zeros((H, S))
    v_last, k_last = np.zeros((H, R, P)), np.zeros((H, R, N))
    out = []
    for x_t in x:
        z, v, B, C, dt, A, trap, phase = np.split(p["in_proj.weight"] @ x_t, ends[:-1])
        dt = soft(dt + p["dt_bias"])
        tail = np.where(A >= 0, 1 + A, 1 / (1 - np.minimum(A, 0)))
        A = -(soft(A) if c.a_activation == "softplus" else tail)
        alpha, lam = np.exp(np.minimum(A, -c.A_floor) * dt), sigma(trap)
        y = np.zeros((H, P))
        for head in range(H):
            theta[head] += np.pi * np.tanh(phase) * dt[head]
            rows = slice(head * P, (head + 1) * P)
            k, q, w = np.zeros((R, N)), np.zeros((R, N)), psi[head] * v[rows]
            for r in range(R):
                start = (r * G + head * G // H) * N
                B_r = root_mean_square(B[start : start + N]) * p["B_norm.weight"]
                C_r = root_mean_square(C[start : start + N]) * p["C_norm.weight"]
                k[r] = turned(B_r + p["B_bias"][head, r], theta[head], halved)
                q[r] = turned(C_r + p["C_bias"][head, r], theta[head], halved)
            gamma, beta = lam[head] * dt[head], (1 - lam[head]) * dt[head] * alpha[head]
            h[head] = alpha[head] * h[head] + beta * v_last[head].T @ k_last[head]
            h[head] += gamma * w.T @ k
            for r in range(R):
                y_r = h[head] @ q[r] + p["D"][head] * w[r]
                if c.is_outproj_norm:
                    y_r = root_mean_square(y_r) * p["norm.weight"][rows]
                gate = zeta[head, r] * z[rows]
                y[head] += phi[head, r] * y_r * gate * sigma(gate)
            v_last[head], k_last[head] = w, k
        out.append(p["out_proj.weight"] @ y.ravel())
    return np.array(out)


def attention(p, x, c):
    H, K, P = c.num_heads, c.kv_heads, c.headdim
    scale = P**-0.5 if c.softmax_scale is None else c.softmax_scale
    ends = np.cumsum([(H + 2 * K) * P, c.d_mlp, c.d_mlp])
    raw, keys, values, out = [], [], [], []
    S = c.rotary_emb_dim // 2
    frequency = c.rotary_emb_base ** (-np.arange(S) / max(S, 1))
    for t, x_t in enumerate(x):
        qkv, value, gate = np.split(project(p, "in_proj", x_t), ends[:-1])
        raw.append(qkv)
        qkv = filtered(p, raw) if c.d_conv else qkv
        heads = qkv.reshape(H + 2 * K, P).copy()
        rotated = slice(0, c.rotary_emb_dim)
        for head in heads[: H + K]:
            interleaved = c.rotary_emb_interleaved
            head[rotated] = turned(head[rotated], t * frequency, not interleaved)
        keys.append(heads[H : H + K])
        values.append(heads[H + K :])
        y = np.zeros((H, P))
        for head in range(H):
            kv = head * K // H
            scores = [scale * heads[head] @ k[kv] for k in keys]
            weights = np.exp(scores) / np.sum(np.exp(scores))
            y[head] = sum(w * v[kv] for w, v in zip(weights, values, strict=True))
        y = np.concatenate([y.ravel(), value * gate * sigma(gate)])
        out.append(project(p, "out_proj", y))
    return np.array(out)


OFFICIAL = {
    "mamba1": mamba1,
    "mamba2": mamba2,
    "mamba3": mamba3,
    "attention": attention,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_block_is_the_official_module(name):
    config, official = CONFIGS[name], OFFICIAL[name.split()[0]]
    parameters, x = block_inputs(np.random.default_rng(9), config, length=9)
    expected = np.stack([official(parameters, row, config) for row in x])
    found, _ = MIXERS[type(config)].block(parameters, x, config)
    assert_close(found, expected)


@pytest.mark.parametrize("bias", [False, True])
def test_value_first_gate_second(bias):
    config, rng = MLPConfig(5, 7, multiple_of=4, bias=bias), np.random.default_rng(0)
    p = {name: rng.standard_normal(shape) for name, shape in mlp_shapes(config).items()}
    x = rng.standard_normal((2, 3, 5))
    both = x @ p["fc1.weight"].T + p.get("fc1.bias", 0.0)
    value, gate = both[..., :8], both[..., 8:]
    expected = (value * gate * sigma(gate)) @ p["fc2.weight"].T + p.get("fc2.bias", 0.0)
    assert_close(gated_mlp(p, x, config), expected)


@pytest.mark.parametrize(
    "name", [n for n, c in CONFIGS.items() if getattr(c, "d_conv", 0)]
)
def test_convolution_caches_its_inputs(name):
    config = CONFIGS[name]
    p, x = block_inputs(np.random.default_rng(9), config, length=9)
    _, cache = MIXERS[type(config)].block(p, x, config)
    width, channels = config.d_conv - 1, cache.conv.shape[2]
    projected = x @ p["in_proj.weight"].T + p.get("in_proj.bias", 0.0)
    if name.startswith("mamba2"):
        start = 2 * config.d_mlp + config.width
        projected = projected[..., start:]
    assert_close(cache.conv, projected[:, 9 - width :, :channels], 1e-13)
