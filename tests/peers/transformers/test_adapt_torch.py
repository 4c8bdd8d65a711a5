"""The adapter with torch: there and back in every dtype, and a whole op."""

import numpy as np
import pytest
from peers.requirement import require

from ssmref.conformance.adapt import adapt
from ssmref.conformance.arrays import converter, to_numpy
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

torch = require("torch", "peers")

pytestmark = pytest.mark.peers
DTYPES = ["float64", "float32", "float16", "bfloat16", "complex64", "int64", "bool"]


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_go_there_and_back(dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype_of(dtype))
    tensor = converter("torch")(array)
    assert tensor.dtype == getattr(torch, dtype)
    back = to_numpy(tensor)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_gradients_conjugates_and_strides_come_back():
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_().T
    np.testing.assert_array_equal(to_numpy(tensor), [[0, 3], [1, 4], [2, 5]])
    conjugate = torch.tensor([1 + 2j]).conj()
    np.testing.assert_array_equal(to_numpy(conjugate), [1 - 2j])
    low = torch.tensor([[1.5, 2.0]], dtype=torch.bfloat16).expand(2, 2).T
    np.testing.assert_array_equal(to_numpy(low).astype("f4"), [[1.5, 1.5], [2, 2]])


def scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """A scan over (batch, channels, length), with a state that needs gradients."""
    delta = delta if delta_bias is None else delta + delta_bias[:, None]
    delta = torch.nn.functional.softplus(delta) if delta_softplus else delta
    u, delta, wide = u.float(), delta.float(), u.dtype
    h = torch.zeros(*u.shape[:2], A.shape[1]).requires_grad_()
    B, C = (X.float() if X.ndim == 3 else X.float().unsqueeze(0) for X in (B, C))
    ys = []
    for t in range(u.shape[2]):
        drive = delta[..., t, None] * B[..., t].unsqueeze(1) * u[..., t, None]
        h = torch.exp(delta[..., t, None] * A) * h + drive
        ys.append((h * C[..., t].unsqueeze(1)).sum(-1))
    y = torch.stack(ys, 2) if ys else torch.zeros_like(u)
    y = y if D is None else y + D[:, None] * u
    y = y if z is None else y * torch.nn.functional.silu(z.float())
    return y.to(wide), h


def adapted(function=scan, **changes):
    last = "batch channels length"
    layouts = {"u": last, "dt": last, "z": last, "y": last}
    layouts |= {X: "batch state length" for X in "BC"}
    names = {"dt": "delta", "dt_bias": "delta_bias", "dt_softplus": "delta_softplus"}
    settings = {"names": names, "layouts": layouts, "to": "torch"} | changes
    return adapt("mamba1.selective_scan", function, **settings)


FAMILIES = ("smallest", "plain", "skip", "gate", "softplus")
SIMPLE = [c for c in cases_of("mamba1.selective_scan") if c.family in FAMILIES]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("case", SIMPLE, ids=str)
def test_torch_function_passes(case, dtype):
    found = verify_case(adapted(), case, dtype_of(dtype))
    assert found.status == PASSED, found


def test_wrong_torch_function_fails():
    def shifted(u, *rest, **options):
        y, state = scan(u, *rest, **options)
        return torch.roll(y, 1, 2), state

    [plain] = (case for case in SIMPLE if case.family == "plain")
    wrong = adapted(shifted, positional=("u",))
    assert verify_case(wrong, plain, dtype_of("float32")).status == FAILED


def test_options_that_it_lacks_are_not_provided():
    packed = next(c for c in cases_of("mamba1.selective_scan") if c.family == "packed")
    found = verify_case(adapted(), packed, dtype_of("float32"))
    assert found.status == NOT_PROVIDED
