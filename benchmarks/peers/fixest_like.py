"""fereg and pyfixest: an intercept per cluster, with fixest's formulas.

Their corrections for small samples are switched off: an intercept per cluster makes them large, and ours has none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pandas as pd
import simulate

from peers.base import Answer, Peer


def by(module: str, factors: str = "id") -> Callable[[pd.DataFrame], Callable[[], Answer]]:
    def prepare(data: pd.DataFrame) -> Callable[[], Answer]:
        package = importlib.import_module(module)
        plain = package.ssc(k_adj=False, G_adj=False)

        def fit() -> Answer:
            found = package.feglm(f"{simulate.FORMULA} | {factors}", data, family="logit", vcov="iid", ssc=plain)
            return Answer(found.coef().to_numpy(), found.se().to_numpy())

        return fit

    return prepare


FEREG = Peer("fereg, feglm", "fereg", by("fereg"), ("fixed_effects", {}))
TWO_WAY = Peer(
    "pyfixest, feglm", "pyfixest", by("pyfixest", "id + year"), ("fixed_effects", {"cluster": ["id", "year"]})
)
PYFIXEST = Peer("pyfixest, feglm", "pyfixest", by("pyfixest"), ("fixed_effects", {}))
