"""Data for tests of posteriors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit


def clustered(m: int = 30, size: int = 5, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    id_ = np.repeat(np.arange(m), size)
    x = rng.normal(2.0, 1.0, m * size)
    u, v = rng.normal(size=m), 0.6 * rng.normal(size=m)
    w = rng.choice(["a", "b", "c"], m * size)
    k = np.tile(np.arange(size) // 2, m)
    eta = -1.0 + 0.5 * x + u[id_] + v[id_] * x
    return pd.DataFrame({"id": id_, "x": x, "w": w, "k": k, "y": (rng.random(m * size) < expit(eta)).astype(int)})
