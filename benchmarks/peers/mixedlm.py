"""mixedlm: lme4's formulas, with a core in Rust; Laplace or adaptive nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import simulate

from peers.base import Answer, Peer


def with_nodes(nodes: int) -> Callable[[pd.DataFrame], Callable[[], Answer]]:
    def prepare(data: pd.DataFrame) -> Callable[[], Answer]:
        import mixedlm

        family = mixedlm.families.Binomial()

        def fit() -> Answer:
            found = mixedlm.glmer(f"{simulate.FORMULA} + (1|id)", data, family=family, nAGQ=nodes)
            return Answer(np.array(list(found.fixef().values())), np.sqrt(np.diag(found.vcov())), _sigma(found))

        return fit

    return prepare


def _sigma(found: object) -> float:
    return float(next(iter(found.VarCorr().groups.values())).stddev["(Intercept)"])  # type: ignore[attr-defined]


_SE = "smaller than the Hessian's even where sigma is given"
LAPLACE = Peer(
    "mixedlm, Laplace", "mixedlm", with_nodes(1), ("random_effects", {"quadrature": "laplace"}), _SE, 2000, True
)
EIGHT = Peer("mixedlm, 8 nodes", "mixedlm", with_nodes(8), ("random_effects", {"quadrature": 8}), _SE, 2000, True)
