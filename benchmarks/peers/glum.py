"""glum: a GLM without clusters, and without standard errors unless they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from peers.base import Answer, Peer, design


def pooled(data: pd.DataFrame) -> Callable[[], Answer]:
    from glum import GeneralizedLinearRegressor

    X, y = design(data)

    def fit() -> Answer:
        found = GeneralizedLinearRegressor(family="binomial", alpha=0, fit_intercept=False).fit(X, y)
        return Answer(found.coef_)

    return fit


POOLED = Peer("glum, no clusters, no standard errors", "glum", pooled, ("pooled", {}))
