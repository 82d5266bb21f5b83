"""glmm: random intercepts by Laplace or an odd number of adaptive nodes; columns by name, cluster ids as strings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import simulate

from peers.base import Answer, Peer


def with_nodes(nodes: int, family: str = "binomial") -> Callable[[pd.DataFrame], Callable[[], Answer]]:
    def prepare(data: pd.DataFrame) -> Callable[[], Answer]:
        import glmm

        columns = {name: data[name].to_numpy(float) for name in data.columns if name != "id"}
        columns["id"] = data["id"].astype(str).to_numpy()

        def fit() -> Answer:
            found = glmm.fit(columns, f"{simulate.FORMULA} + (1|id)", family=family, nagq=nodes)
            return Answer(np.array(found.beta), np.array(found.se), float(found.varcorr[0][0]) ** 0.5)

        return fit

    return prepare


def crossed(data: pd.DataFrame) -> Callable[[], Answer]:
    """An intercept of each of two factors `p` and `i` that cross, by Laplace's joint approximation."""
    import glmm

    columns = {name: data[name].to_numpy(float) for name in ("y", "x")}
    columns |= {name: data[name].astype(str).to_numpy() for name in ("p", "i")}

    def fit() -> Answer:
        found = glmm.fit(columns, "y ~ x + (1|p) + (1|i)", family="binomial")
        return Answer(np.array(found.beta), np.array(found.se))

    return fit


LAPLACE = Peer(
    "glmm, Laplace", "glmm", with_nodes(1), ("random_effects", {"quadrature": "laplace"}), reads_formulas=True
)
SEVEN = Peer("glmm, 7 nodes", "glmm", with_nodes(7), ("random_effects", {"quadrature": 8}), reads_formulas=True)
NEGATIVE_BINOMIAL = Peer(
    "glmm, 9 nodes",
    "glmm",
    with_nodes(9, "negativebinomial"),
    ("random_effects", {"family": "negative_binomial"}),
    reads_formulas=True,
)
