"""Bounds of rounding."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.likelihood.rounding import _magnitudes
from clusterglm.model.family import with_own


def test_sizes_of_rows_that_share_a_number_are_those_of_each() -> None:
    """Of counts in rows without weights they are looked up; with weights, or numbers that are no counts, computed."""
    response, rng = with_own("negative_binomial"), np.random.default_rng(3)
    assert response is not None
    for b in (np.ones(200), np.full(200, 0.7), rng.uniform(1.0, 3.0, 200)):
        for a in (rng.poisson(3.0, 200).astype(float), rng.gamma(2.0, 1.0, 200), np.full(200, 1e6)):
            rows = response.at(np.array([-0.4])).kernel_rows(a, b)
            each = [rows.response.magnitude(rows.a[[i]], rows.b[[i]])[0] for i in range(200)]
            assert _magnitudes(rows.response, rows.a, rows.b) == pytest.approx(each, rel=1e-13)
