"""Golden outputs are certified, and the certificate can be refused."""

import certify
import numpy as np
import pytest

from ssmref.ops import OPS

EXTENDED = float(np.finfo(np.longdouble).eps) < 1e-18
FORMS = [(op, form) for op in OPS.values() for form in ("", *op.forms)]
IDS = [f"{op.name}-{form or 'definition'}" for op, form in FORMS]
MAKERS = certify.examples()


def test_every_op_has_an_example():
    assert set(MAKERS) == set(OPS)


@pytest.mark.skipif(not EXTENDED, reason="longdouble is float64 on this platform")
@pytest.mark.parametrize(("op", "form"), FORMS, ids=IDS)
def test_form_is_certified(op, form):
    """Half a unit for rounding to float64 leaves half a unit for all else."""
    call = MAKERS[op.name](np.random.default_rng(0))
    found = certify.certify(op, form, [call])
    assert found.in_extended <= 0.5
    assert found.in_float64 <= 50


@pytest.mark.parametrize("factor", [1 + 1e-15, 0.0, np.nan])
def test_wrong_output_is_not_certified(factor):
    right = {"y": np.linspace(1, 2, 5), "final_state": np.ones(3)}
    assert certify.distance(right, right) == 0
    wrong = {**right, "y": right["y"] * factor}
    assert certify.distance(wrong, right) > 0.5
