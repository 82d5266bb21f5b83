"""Predictions with several random effects: typical, given what is known of the cluster, averaged."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.clusters import cluster_column
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, PredictionWarning, check_option
from clusterglm.fit.mixed import MixedFit, posterior_of
from clusterglm.inference.predictions.mixed_mean import LogMeans, averaged, given_clusters, on_link
from clusterglm.inference.predictions.mixed_modes import firsts_of, mode_derivatives
from clusterglm.inference.predictions.new_cluster import normal_cluster_ends
from clusterglm.inference.predictions.prediction import LinkPrediction, at_intercepts
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.likelihood.vector.vector import VectorPosterior
from clusterglm.model.arguments import several
from clusterglm.model.arrays import Array
from clusterglm.results.topics.given_clusters import GivenClusters, Known
from clusterglm.results.topics.newdata import Rows, cluster_codes, columns_with_effects, refuse_unknown_clusters
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

_ROUGH_MEAN = 1e-4  # error of the logarithm of a mean beyond which it is said


class MixedPredictions(GivenClusters):
    """Predictions with several random effects."""

    _kinds: tuple[str, ...] = ("typical", "conditional", "posterior", "marginal")
    _drawn_kinds = ("typical", "marginal")
    _drawn_clusters = 0

    if TYPE_CHECKING:
        fit: MixedFit

    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: None = ...,
        cov: str = ...,
        history: Any = ...,
        unseen: str = ...,
        interval: str = ...,
        effects: Sequence[str] | None = ...,
    ) -> pd.Series[float]: ...
    @overload
    def predict(
        self,
        data: Any = ...,
        kind: str | ArrayLike | None = ...,
        *,
        scale: str = ...,
        level: float,
        cov: str = ...,
        history: Any = ...,
        unseen: str = ...,
        interval: str = ...,
        effects: Sequence[str] | None = ...,
    ) -> pd.DataFrame: ...

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
        history: Any = None,
        unseen: str = "refuse",
        interval: str = "mean",
        effects: Sequence[str] | None = None,
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data, at random effects of a kind.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"typical", "conditional", "posterior", "marginal"} or array_like, optional
            Effects of zero, those of a typical cluster (the default); the posterior mode of the row's own cluster (the
            default with `history`); the mean averaged over the posterior of that cluster's effects, which is the
            probability that the next response is a success (or the count to be expected), given the cluster's data;
            the mean averaged over the distribution of effects, that of the population; or a number, or one for each
            row of the answer, that is added to the linear predictor.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or the linear predictor, for "posterior"
            and "marginal" the link of the averaged mean. Offsets are included, weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.
        history : table, optional
            Observed rows, response included, of clusters that the fit has not seen: in these clusters "conditional" and
            "posterior" are given the history, at the fitted parameters. A cluster of the fit that has a history is
            judged by its history alone. Rows of the history count with weight one.
        unseen : {"refuse", "marginal"}
            What "conditional" and "posterior" do where nothing is known of a row's cluster: refuse the row, or predict
            it as "marginal" does; `status` says so.
        interval : {"mean", "cluster"}
            What intervals of "marginal" predictions are to hold: the averaged mean, which is known the better the more
            clusters were seen; or the mean of one new cluster, wherever in the distribution its effects lie.
        effects : sequence of str, optional
            With nested effects, the grouping factors whose effects "conditional" and "posterior" take from the data; by
            default both. Without those of the lower factor only the cluster of a row need be known: "conditional" has
            effects of zero in their place, "posterior" averages over their distribution, as for a new class of a known
            school. With crossed effects any of the factors, each of which is known or new by itself.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error`, `low`, `high` and
            `status`: "ok", or what is missing. The interval is one of the linear predictor, transformed; the standard
            error follows by the delta method.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance, or a history, `unseen` or `interval` where they say nothing.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan; and when rows of the history are not complete.

        Notes
        -----
        Standard errors carry the uncertainty of the estimates, those of the covariance included unless they lie on the
        boundary. Those of "conditional" add the variance of the effects about their mode given the data, so that these
        intervals are to hold the mean of the row's own cluster (Booth and Hobert, Journal of the American Statistical
        Association 93, 1998). Those of "posterior" are to hold the posterior mean.

        With crossed effects "posterior" takes a row's linear predictor given the data as normal; derivatives in the
        estimates are differences; `unseen="marginal"` averages over the distribution of the effects of new levels, and
        over what is not known of the others.

        With interval="cluster" the ends are quantiles of x'beta + z'b + e, where b are a new cluster's effects and e
        the error of the estimates, normal with their covariance (that of the standard deviation of z'b on the log
        scale).
        """
        check_option("scale", scale, self._scales)
        if history is not None:
            kind = self._kind_with_history(data, kind)
        self._check_questions(kind, level, unseen, interval)
        counted = self._counted(effects, kind)
        return self._predicted(data, kind, scale, Wanted(level, cov, history, interval, unseen, effects=counted))

    def _counted(self, effects: Sequence[str] | None, kind: Any) -> tuple[str, ...] | None:
        """The grouping factors whose effects count; None means all."""
        if effects is None:
            return None
        known = list(dict.fromkeys(term.group for term in self.fit.effects.terms))
        example = f"effects=[{known[0]!r}]"
        wanted = named_factors(effects, kind, known, example)
        if set(wanted) == set(known):
            return None
        if known[0] not in wanted and (kind == "posterior" or not wanted):
            raise OptionError(
                f"effects={list(wanted)!r} with kind={kind!r}",
                "those of the clusters, in which the others lie",
                f'{example}; or kind="marginal"',
            )
        return tuple(wanted)

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if kind == "typical":
            return at_intercepts(rows.eta(self._beta))
        Z = columns_with_effects(self.fit.effects, rows)
        only_upper = wanted.effects is not None and wanted.effects[0] == self.data.cluster_name
        if wanted.effects is not None and kind == "conditional":
            d = self.fit.effects.n_upper
            Z = np.where((np.arange(Z.shape[1]) < d) == only_upper, Z, 0.0)
        if kind == "marginal":
            return self._marginal(rows, Z, np.ones(rows.size, dtype=bool), wanted)
        history = None if self.fit.effects.children is not None else self._history(wanted.history)
        known = self._known(rows, history, wanted)
        found = (self._given if kind == "posterior" else self._at_modes)(rows, Z, known, history, wanted)
        if not known.unseen.any():
            return found
        self._say_unseen(rows, known)
        Z = columns_with_effects(self.fit.effects, rows)
        return _merged(known.unseen, self._marginal(rows, Z, known.unseen, wanted), found)

    def _marginal(self, rows: Rows, Z: Array, where: NDArray[np.bool_], wanted: Wanted) -> LinkPrediction:
        which = np.flatnonzero(rows.status.ok & where)
        means = averaged(rows.X[which], Z[which], rows.offset[which], self.fit)
        found = self._link_of(rows, [(which, means)])
        return replace(found, of_new=where) if wanted.interval == "cluster" else found

    def _given(self, rows: Rows, Z: Array, known: Known, history: ModelData | None, wanted: Wanted) -> LinkPrediction:
        """Averaged over the posteriors, those given the history first."""
        if not self.response.mean_is_a_row:
            raise OptionError(
                f"a 'posterior' prediction with family={self.response.family!r} and several random effects",
                "a mean that is a probability or an exponential",
                "kind='conditional', at the modes of the effects; or kind='marginal'",
            )
        inside, parts = rows.status.ok & ~known.unseen, []
        for base, end, data in _clusters(history, self.data.rows):
            which = np.flatnonzero(inside & (known.codes >= base) & (known.codes < end))
            if len(which) > 0:
                at = (rows.X[which], Z[which], rows.offset[which], known.codes[which] - base)
                parts.append((which, given_clusters(*at, self.fit, data, alone=wanted.effects is not None)))
        return self._link_of(rows, parts)

    def _link_of(self, rows: Rows, parts: list[tuple[NDArray[np.int64], LogMeans]]) -> LinkPrediction:
        """On the scale of the link, of some rows each."""
        link, own = np.full(rows.size, np.nan), np.zeros((rows.size, len(self.fit.theta)))
        for which, found in parts:
            link[which], own[which] = on_link(found, self.response)
        error = max((found.error for _, found in parts), default=0.0)
        if error > _ROUGH_MEAN:
            warnings.warn(
                f"averaged means are known with a relative error of {error:.1e} alone", PredictionWarning, stacklevel=7
            )
        return LinkPrediction(link, np.zeros(rows.size), np.zeros(rows.size), own=own, cluster=np.arange(rows.size))

    def _at_modes(
        self, rows: Rows, Z: Array, known: Known, history: ModelData | None, wanted: Wanted
    ) -> LinkPrediction:
        fit, n, L = self.fit, rows.size, self.fit.factor
        of_data = [(data, self._posterior_of(data)) for _, _, data in _clusters(history, self.data.rows)]
        modes = np.concatenate([posterior.modes @ L.T for _, posterior in of_data])
        z = np.nan_to_num(Z)
        link = rows.eta(self._beta) + np.einsum("ij,ij->i", z, modes[known.codes])
        second, scaled = np.concatenate([posterior.about_modes for _, posterior in of_data]), z @ L
        extra = np.einsum("ij,ijk,ik->i", scaled, second[known.codes], scaled)
        if wanted.level is None:
            return LinkPrediction(link, np.ones(n), extra)
        derivatives = np.concatenate(
            [mode_derivatives(fit, self.response, data, posterior.modes) for data, posterior in of_data]
        )
        own = np.einsum("ij,ijk->ik", z, derivatives[known.codes])
        return LinkPrediction(link, np.ones(n), extra, own=own, cluster=np.arange(n))

    def _known(self, rows: Rows, history: ModelData | None, wanted: Wanted) -> Known:
        if self.fit.effects.children is None:
            return super()._known(rows, history, wanted)
        if wanted.history is not None:
            raise OptionError(
                "history= with nested random effects", "rows of levels that were fitted", 'unseen="marginal" for others'
            )
        return self._known_levels(rows, wanted)

    def _known_levels(self, rows: Rows, wanted: Wanted) -> Known:
        """Numbers of the rows' children; where effects of clusters alone count, that of the last of each cluster."""
        data, children, upper = self.data.rows, self.fit.effects.children, str(self.data.cluster_name)
        assert children is not None
        if wanted.effects is None or upper not in wanted.effects:
            starts, labels, name, place = (
                children.starts,
                children.labels,
                children.group,
                np.arange(len(children.labels)),
            )
        else:
            place = np.append(firsts_of(data.innermost_clusters)[1:], len(children.labels)) - 1
            starts, labels, name = data.starts, data.labels, upper
        if rows.frame is None:
            codes = place[np.repeat(np.arange(len(labels)), np.diff(starts))]
            return Known(codes, np.zeros(rows.size, dtype=bool), np.full(rows.size, "", dtype=object))
        codes, words = cluster_codes(labels, name, rows.frame)
        unseen = (codes == -1) & rows.status.ok & (wanted.unseen == "marginal")
        refuse_unknown_clusters(rows.status, np.where(unseen, 0, codes), words, name, "the fit")
        codes = place[np.maximum(codes, 0)]
        if name != upper and cluster_column(rows.frame, upper) is not None:
            own, _ = cluster_codes(data.labels, upper, rows.frame)
            moved = ~unseen & (own != data.innermost_clusters[codes])
            rows.status.refuse(moved, f"another level of {upper!r} than in the fit")
        return Known(codes, unseen, words)

    def _posterior_of(self, data: ModelData) -> VectorPosterior:
        fit = self.fit
        return fit.posterior if data is fit.data else posterior_of(fit, data)

    def _new_cluster_ends(self, rows: Rows, which: NDArray[np.int64], cov: str, level: float) -> tuple[Array, Array]:
        from clusterglm.inference.effects.mixed_heterogeneity import sizes

        fit, V, X = self.fit, self._delta_covariance(cov), rows.X[which]
        of_beta, random = fit.parameters.coefficients, fit.parameters.place("random")
        found = sizes(columns_with_effects(fit.effects, rows)[which], fit, V)
        variance = np.einsum("ij,jk,ik->i", X, V[of_beta, of_beta], X)
        joint = np.einsum("ij,jk,ik->i", X, V[of_beta, random], found.slopes)
        of_size = np.nan_to_num(found.sd * found.of_log) ** 2
        return normal_cluster_ends(rows.eta(self._beta)[which], variance, found.sd, of_size, joint, level)


def _clusters(history: ModelData | None, fitted: ModelData) -> list[tuple[int, int, ModelData]]:
    """Numbers of clusters from and to which are those of which data: the history's, then the fit's."""
    m = 0 if history is None else len(history.innermost) - 1
    own = (m, m + len(fitted.innermost) - 1, fitted)
    return [own] if history is None else [(0, m, history), own]


def _merged(where: NDArray[np.bool_], inside: LinkPrediction, outside: LinkPrediction) -> LinkPrediction:
    """Rows of one prediction where `where` is true, else of another, both with a gradient for each row."""
    assert inside.own is not None
    own = np.zeros_like(inside.own) if outside.own is None else outside.own
    return LinkPrediction(
        np.where(where, inside.estimate, outside.estimate),
        np.where(where, inside.slope, outside.slope),
        np.where(where, inside.extra, outside.extra),
        own=np.where(where[:, None], inside.own, own),
        cluster=np.arange(len(where)),
        of_new=inside.of_new,
    )


def named_factors(effects: Sequence[str], kind: Any, known: Sequence[str], example: str) -> tuple[str, ...]:
    """Grouping factors whose effects are to count, in a prediction of a kind in which they may."""
    wanted = several("effects", effects, "names of grouping factors", example)
    for name in wanted:
        if name not in known:
            raise OptionError(f"effects= with {name!r}", f"one of {', '.join(map(repr, known))}", example)
    if not isinstance(kind, str) or kind not in ("conditional", "posterior"):
        raise OptionError(f"effects= with kind={kind!r}", 'kind="conditional" or "posterior"', "leave effects= out")
    return tuple(wanted)
