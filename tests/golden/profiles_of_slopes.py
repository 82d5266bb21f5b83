"""Makes profiles_of_slopes.json by benchmarks/oracle/profiles.py, which shares nothing with the package."""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "benchmarks"))

from oracle.profiles import profile_intervals  # noqa: E402

SIZE = 8


def simulated(seed: int, clusters: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Responses and covariate: standard deviations 1 and 0.5, correlation 0.3."""
    rng = np.random.default_rng(seed)
    x, g = np.tile(np.linspace(-1.0, 1.0, SIZE), clusters), np.repeat(np.arange(clusters), SIZE)
    u = rng.standard_normal((clusters, 2)) @ np.linalg.cholesky([[1.0, 0.15], [0.15, 0.25]]).T
    eta = -0.5 + x + u[g, 0] + u[g, 1] * x
    return (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(int), x


if __name__ == "__main__":
    found = []
    for seed in (4, 9, 13, 15, 21):
        y, x = simulated(seed)
        found.append({"seed": seed, "y": "".join(map(str, y)), "intervals": profile_intervals(y, x, SIZE).tolist()})
    (HERE / "profiles_of_slopes.json").write_text(json.dumps(found, indent=1) + "\n")
