"""Counts with a hurdle: 0 with a probability of its own, and otherwise of a family truncated at zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.count import TruncatedCount
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.own.truncated_negative_binomial import TruncatedNegativeBinomial
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.truncated_poisson import TruncatedPoissonLog
from clusterglm.model.response.zeros.inflated import ZeroInflated
from clusterglm.model.response.zeros.parts import Means, Part


@dataclass(frozen=True, eq=False, repr=False)
class Hurdle(ZeroInflated):
    """A count with a hurdle. w is the log odds of a zero; other counts have the linear predictor of their family."""

    meaning = "variance mean + alpha mean^2 before truncation"

    @property
    def family(self) -> str:  # type: ignore[override]
        """That of the counts before truncation."""
        return "negative_binomial" if self.dispersed else "poisson"

    @property
    def truncated(self) -> TruncatedPoissonLog | TruncatedNegativeBinomial:
        """What counts follow that are not 0, with parameters to be estimated."""
        return TruncatedNegativeBinomial() if self.dispersed else TruncatedPoissonLog()

    @property
    def plain(self) -> Response:
        return self.truncated

    @property
    def truncated_now(self) -> TruncatedCount:
        """The same at the estimates."""
        return TruncatedNegativeBinomial((self.alpha,)) if self.alpha > 0.0 else TruncatedPoissonLog()

    @property
    def count(self) -> Response:
        return self.truncated_now

    @property
    def scales(self) -> dict[str, Part]:  # type: ignore[override]
        found = super().scales | {"zero": Part(1.0, 0.0, 0.0, Means(self.count))}
        del found["excess"]
        return found

    def mean(self, eta: Array) -> Array:
        """Of counts that are not 0."""
        return self.truncated_now.mean(eta)

    def whole_mean(self, eta: Array, w: Array) -> Array:
        """Of all counts."""
        return np.asarray(expit(-np.asarray(w)) * self.mean(eta))

    def drawn(self, rng: np.random.Generator, eta: Array, w: Array) -> Array:
        drawn = self.truncated_now.draw(rng, eta)
        return np.where(rng.random(np.shape(eta)) < expit(w), 0.0, drawn)

    def log_probability(self, y: Array, eta: Array, w: Array) -> Array:
        one, some = np.ones(np.shape(y)), np.maximum(y, 1.0)
        count = self.truncated_now.value(eta, some, one) + self.truncated_now.log_constants(some, one, one)
        return np.where(y == 0.0, log_expit(w), log_expit(-np.asarray(w)) + count)


def hurdle_of(response: Response) -> Hurdle | None:
    """A response with a hurdle, whose parameters are to be estimated; None where there is none of its kind."""
    if not isinstance(response, PoissonLog | NegativeBinomial):
        return None
    return Hurdle(dispersed=isinstance(response, NegativeBinomial))
