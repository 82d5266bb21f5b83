"""The trust region where the Hessian is beyond what doubles can add to."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.fit.newton import _Model


@pytest.mark.parametrize("radius", [1e-6, 2.0, 1e6])
@pytest.mark.parametrize("curvature", [-7e20, -1e3, -1e-8])
def test_step_is_finite_and_fills_the_radius(curvature: float, radius: float) -> None:
    """With a curvature of -7e20 the shift that makes the model concave is lost in rounding."""
    model = _Model(
        np.array([curvature, -170.0, 211.0])[np.argsort([curvature, -170.0, 211.0])],
        np.eye(3),
        np.array([310.0, 8.5e-05, -2e-4]),
    )
    step, promise = model.step(radius)
    assert np.isfinite(step).all()
    assert np.linalg.norm(step) == pytest.approx(radius, rel=2e-3)
    assert promise > 0.0
