"""Maximum likelihood of counts with a hurdle and several normal effects in those that are not 0: two fits in one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.linalg import block_diag

from clusterglm.data.prepare import ModelData
from clusterglm.data.zero_part import zero_part_of
from clusterglm.fit.hurdle import HurdlePooledFit, at_values, fit_hurdle_pooled, fit_zeros, positive_rows
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import effects_of
from clusterglm.fit.own_levels import kernel_effects
from clusterglm.fit.own_mixed import OwnMixedFit
from clusterglm.fit.own_rows import kernel_data
from clusterglm.fit.pooled import PooledFit
from clusterglm.fit.zero_mixed import ZeroMixedFit, counts_of_effects
from clusterglm.fit.zeros import anew
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.own.base import KernelRows, OwnParameters
from clusterglm.model.response.zeros.hurdle import Hurdle

_DEFAULT = Control()


@dataclass(frozen=True)
class HurdleMixedFit(ZeroMixedFit):
    """Estimates of a model of counts with a hurdle and several random effects in the counts that are not 0.

    Parameters
    ----------
    pooled : HurdlePooledFit
    counts : MixedFit
        Of the counts that are not 0; its arrays are among this fit's.
    own_counts : OwnMixedFit, optional
        The same, where these have a dispersion.
    zeros : PooledFit
        Of a binary logit model of which counts are 0.
    """

    pooled: HurdlePooledFit
    counts: MixedFit | None = None
    own_counts: OwnMixedFit | None = None
    zeros: PooledFit | None = None

    @property
    def of_counts(self) -> MixedFit:
        """The fit of the counts that are not 0, which is known to be there."""
        assert self.counts is not None
        return self.counts

    def again(self, data: ModelData, control: Control = _DEFAULT) -> HurdleMixedFit:
        response = self.inflated
        assert isinstance(response, Hurdle)
        zero = zero_part_of(self.zero_rows, data)
        return fit_hurdle_mixed(data, zero, anew(response, zero), self.integration.requested, control)

    def given_with(self, data: ModelData) -> MixedFit:
        """With alpha as known, of all rows: those that are 0 are empty rows, which say nothing of effects."""
        response = self.inflated
        assert isinstance(response, Hurdle)
        known = {field.name: getattr(self, field.name) for field in fields(MixedFit)}
        is_zero, effects, truncated = data.a == 0.0, effects_of(data), response.truncated_now
        if isinstance(truncated, OwnParameters):
            rows = truncated.kernel_rows(np.where(is_zero, data.b, data.a), data.b)
            empty = is_zero if rows.of is None else is_zero[rows.of]
            rows = replace(rows, a=np.where(empty, 0.0, rows.a), b=np.where(empty, 0.0, rows.b))
        else:
            rows = KernelRows(truncated, data.a, np.where(is_zero, 0.0, data.b), 0.0)
        Z = np.ascontiguousarray(effects.Z if rows.of is None else effects.Z[rows.of])
        moved = replace(kernel_data(data, rows), effects=kernel_effects(effects, rows, Z))
        return MixedFit(**{**known, "response": rows.response, "data": moved})


def fit_hurdle_mixed(
    data: ModelData,
    zero: ModelData,
    response: Hurdle,
    quadrature: Quadrature,
    control: Control = _DEFAULT,
    start: Array | None = None,
) -> HurdleMixedFit:
    """Fit several random effects in the counts that are not 0.

    Parameters
    ----------
    data, zero : ModelData
        The same rows in the same order: with effects and the columns of counts, and with those of zeros.
    response : Hurdle
        Without parameters.
    quadrature : Quadrature
    control : Control
    start : ndarray, shape (p,), optional
        Starting coefficients of counts.

    Raises
    ------
    ResponseError, DesignError, SeparationError
        As `fit_hurdle_pooled`.
    ClusterError, IntegrationError, OptionError
        As `fit_mixed`.
    """
    counts, own = counts_of_effects(positive_rows(data, response), response.truncated, quadrature, control, start)
    fit, zeros = counts.fit, fit_zeros(zero, control)
    at_limit = np.nan if own is None else own.loglik_at_limit
    return HurdleMixedFit(
        **{field.name: getattr(fit, field.name) for field in fields(MixedFit)}
        | {
            "data": data,
            "pooled": fit_hurdle_pooled(data, zero, response, control),
            "loglik": fit.loglik + zeros.loglik,
            "response": at_values(response, counts.alpha, zeros),
        },
        whole_covariance=np.asarray(block_diag(counts.covariance, zeros.covariance)),
        loglik_at_limit=at_limit + zeros.loglik,
        zero=zero,
        poisson=counts.at_end,
        counts=fit,
        own_counts=own,
        zeros=zeros,
    )
