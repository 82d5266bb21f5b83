"""statsmodels: a GLM without clusters, conditional logit, and a logit with random intercepts by variational Bayes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from peers.base import Answer, Peer, design


def pooled(data: pd.DataFrame) -> Callable[[], Answer]:
    import statsmodels.api as sm

    X, y = design(data)

    def fit() -> Answer:
        found = sm.GLM(y, X, family=sm.families.Binomial()).fit()
        return Answer(found.params, found.bse)

    return fit


def conditional(data: pd.DataFrame) -> Callable[[], Answer]:
    from statsmodels.discrete.conditional_models import ConditionalLogit

    X, y = design(data)
    groups = data["id"].to_numpy()

    def fit() -> Answer:
        found = ConditionalLogit(y, X[:, 1:], groups=groups).fit(disp=0)
        return Answer(found.params, found.bse)

    return fit


def bayes(data: pd.DataFrame) -> Callable[[], Answer]:
    """Posterior means under its default priors; the intercepts' standard deviation has a log-normal one."""
    import scipy.sparse as sp
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    X, y = design(data)
    codes, ids = pd.factorize(data["id"])
    Z = sp.csr_matrix((np.ones(len(data)), (np.arange(len(data)), codes)))
    ident = np.zeros(len(ids), dtype=int)

    def fit() -> Answer:
        found = BinomialBayesMixedGLM(y, X, Z, ident).fit_vb()
        return Answer(found.fe_mean, found.fe_sd, float(np.exp(found.vcp_mean[0])))

    return fit


POOLED = Peer("statsmodels GLM, no clusters", "statsmodels", pooled, ("pooled", {}))
CONDITIONAL = Peer("statsmodels ConditionalLogit", "statsmodels", conditional, ("conditional", {}), most=2000)
BAYES = Peer(
    "statsmodels BinomialBayesMixedGLM, variational",
    "statsmodels",
    bayes,
    ("random_effects", {"quadrature": 8}),
    "posterior standard deviations of a mean-field approximation",
    most=300,
)
