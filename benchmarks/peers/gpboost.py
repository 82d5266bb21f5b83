"""gpboost: random intercepts by Laplace; standard errors are asked for, as every fit of ours has them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from peers.base import Answer, Peer, design


def laplace(likelihood: str) -> Callable[[pd.DataFrame], Callable[[], Answer]]:
    def prepare(data: pd.DataFrame) -> Callable[[], Answer]:
        import gpboost as gpb

        X, y = design(data)
        groups = data["id"].to_numpy()

        def fit() -> Answer:
            model = gpb.GPModel(group_data=groups, likelihood=likelihood, num_parallel_threads=1)
            model.fit(y=y, X=X)
            estimates, se = model.get_coef(std_err=True, format_pandas=False)
            variance = model.get_cov_pars(std_err=False, format_pandas=False).ravel()[0]
            return Answer(estimates, se, float(variance) ** 0.5)

        return fit

    return prepare


def crossed(data: pd.DataFrame) -> Callable[[], Answer]:
    """An intercept of each of two factors `p` and `i` that cross, by Laplace's joint approximation."""
    import gpboost as gpb

    X, y = np.column_stack([np.ones(len(data)), data["x"]]), data["y"].to_numpy()
    groups = data[["p", "i"]].to_numpy()

    def fit() -> Answer:
        model = gpb.GPModel(group_data=groups, likelihood="bernoulli_logit", num_parallel_threads=1)
        model.fit(y=y, X=X)
        estimates, se = model.get_coef(std_err=True, format_pandas=False)
        return Answer(estimates, se)

    return fit


LAPLACE = Peer(
    "gpboost, Laplace",
    "gpboost",
    laplace("bernoulli_logit"),
    ("random_effects", {"quadrature": "laplace"}),
    "given sigma",
)
NEGATIVE_BINOMIAL = Peer(
    "gpboost, Laplace",
    "gpboost",
    laplace("negative_binomial"),
    ("random_effects", {"family": "negative_binomial", "quadrature": "laplace"}),
    "given sigma and alpha",
)
