"""Predictions where grouping factors cross: each factor of a row is known or new by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.predictions.crossed_mean import CrossedGivenData, CrossedRows, Levels, differences
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.results.topics.mixed_prediction import MixedPredictions, named_factors
from clusterglm.results.topics.newdata import Rows, cluster_codes, columns_with_effects, refuse_unknown_clusters
from clusterglm.results.topics.prediction import Wanted


class CrossedPredictions(MixedPredictions):
    """Predictions with crossed random effects."""

    @cached_property
    def _given_data(self) -> CrossedGivenData:
        """What the data say of all effects."""
        return CrossedGivenData.of(self.fit)

    def _counted(self, effects: Sequence[str] | None, kind: Any) -> tuple[str, ...] | None:
        if effects is None:
            return None
        known = self.fit.effects.groups
        return named_factors(effects, kind, known, f"effects=[{known[-1]!r}]")

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if kind in ("typical", "marginal"):
            return super()._at_kind(kind, rows, wanted)
        if wanted.history is not None:
            raise OptionError(
                "history= with crossed random effects",
                "rows of levels that were fitted",
                'unseen="marginal" for others, each factor by itself; or fit the old and new rows together',
            )
        Z = columns_with_effects(self.fit.effects, rows)
        levels = self._levels_of(rows, kind, wanted)
        if kind == "conditional" and wanted.effects is not None:
            for group in set(self.fit.effects.groups) - set(wanted.effects):
                Z = Z.copy()
                Z[:, self.fit.effects.places_of(group)] = 0.0
        at_modes = ~levels.new if kind == "conditional" else np.zeros(rows.size, dtype=bool)
        ok = np.flatnonzero(rows.status.ok)
        given = CrossedRows(rows.X[ok], Z[ok], rows.offset[ok], levels.of(ok), at_modes[ok])
        link, extra = np.full(rows.size, np.nan), np.zeros(rows.size)
        link[ok], extra[ok] = self._given_data.link(given)
        if wanted.level is None:
            return LinkPrediction(link, np.zeros(rows.size), extra)
        own = np.zeros((rows.size, len(self.fit.theta)))
        own[ok] = differences(given, self.fit, np.diag(self._delta_covariance(wanted.cov)))
        return LinkPrediction(link, np.zeros(rows.size), extra, own=own, cluster=np.arange(rows.size))

    def _levels_of(self, rows: Rows, kind: str, wanted: Wanted) -> Levels:
        """The level that each row has of each factor, -1 where it is new or does not count."""
        effects, data = self.fit.effects, self.data.rows
        found: list[NDArray[np.int64]] = []
        new = np.zeros(rows.size, dtype=bool)
        labels = {str(data.cluster_name): data.labels} | {each.group: each.labels for each in effects.outside}
        own = {str(data.cluster_name): data.innermost_clusters} | {each.group: each.codes for each in effects.outside}
        for group, known in labels.items():
            if wanted.effects is not None and group not in wanted.effects:
                found.append(np.full(rows.size, -1))
                continue
            if rows.frame is None:
                found.append(own[group])
                continue
            codes, words = cluster_codes(known, group, rows.frame)
            unseen = (codes == -1) & rows.status.ok & (wanted.unseen == "marginal")
            refuse_unknown_clusters(rows.status, np.where(unseen, 0, codes), words, group, "the fit")
            reason = f"{group} " + words + " not seen: the mean over the distribution of its effects"
            rows.status.say_first(unseen, np.asarray(reason, dtype=object))
            new |= unseen
            found.append(np.maximum(codes, -1))
        return Levels.of_factors(effects, found[0], found[1:], new)
