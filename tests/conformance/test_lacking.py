"""Adapters refuse what is asked for, and nothing else."""

import numpy as np
import pytest

from ssmref.conformance.lacking import lacking

lacks = lacking("nothing-ssm")


@pytest.mark.parametrize("asked", [None, False, np.bool_(False)])
def test_what_is_not_asked_for_is_not_refused(asked):
    assert lacks("gate", asked) is None


@pytest.mark.parametrize("asked", [True, np.bool_(True), np.zeros(3), 0.0, ""])
def test_what_is_asked_for_is_refused_by_name(asked):
    with pytest.raises(NotImplementedError, match="nothing-ssm has no gate"):
        lacks("gate", asked)
