"""edi-kernels: proportional odds with a random intercept, by Gauss-Hermite nodes about zero, 20 by default."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from peers.base import Answer, Peer


def ordinal(data: pd.DataFrame) -> Callable[[], Answer]:
    import edi_kernels

    X = np.asfortranarray(data[[f"x{k}" for k in range(1, 6)]], dtype=np.float64)
    y, groups = (data[name].to_numpy(np.int32) + 1 for name in ("y", "id"))
    levels = int(y.max())

    def fit() -> Answer:
        found = edi_kernels.fast_ordinal_glmm(X, y, groups, levels, 0)
        errors = np.sqrt(np.diag(np.linalg.inv(found["fisher_information"])))
        return Answer(np.array(found["b"]), errors[levels - 1 : -1], float(np.exp(found["log_sigma"])))

    return fit


ORDINAL = Peer("edi-kernels, 20 nodes", "edi-kernels", ordinal, ("random_effects", {"family": "ordinal"}), most=5_000)
