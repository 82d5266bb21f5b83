"""What results say of a penalty that was added to the log-likelihood."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.penalty import IN_WORDS
from clusterglm.results.models.base import Result

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.comparison import Candidate


class MaybePenalized(Protocol):
    """Estimates that say whether there was a penalty."""

    @property
    def penalty(self) -> str | None: ...
    @property
    def penalized_loglik(self) -> float | None: ...


class Penalized(Result):
    """A result of a likelihood that may have been maximised with a penalty."""

    if TYPE_CHECKING:

        @property
        def fit(self) -> MaybePenalized:
            """The estimates."""

    @property
    def penalty(self) -> str | None:
        return self.fit.penalty

    @property
    def penalized_loglik(self) -> float | None:
        """The maximum with the penalty, on which profiles and likelihood-ratio tests rest; None without a penalty.

        It moves with the units of covariates, so that its value says nothing by itself.
        """
        return self.fit.penalized_loglik

    @abstractmethod
    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        """Twice what the penalised likelihood, whose maximum is `top`, loses with the columns of a smaller model.

        And with what else that one holds: sigma, or correlations at 0.
        """

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        return verb, known if self.penalty is None else known | {"penalty": self.penalty}

    def _candidate(self, name: str) -> Candidate:
        known, top = super()._candidate(name), self.penalized_loglik
        if top is None:
            return known
        return replace(known, penalized_loglik=top, penalized_ratio=partial(self._penalized_ratio, top))

    def _export(self) -> dict[str, Any]:
        return {"penalty": self.penalty, "penalized_loglik": self.penalized_loglik} | super()._export()

    def _glance(self) -> dict[str, Any]:
        known = super()._glance()
        if self.penalty is None:
            return known
        return known | {"penalty": self.penalty, "penalized_loglik": self.penalized_loglik}

    def _refuse_test_of_no_clustering(self) -> None:
        if self.penalty is not None:
            raise OptionError(
                f"a test of no clustering after a fit with penalty={self.penalty!r}",
                "estimates at the maximum of the likelihood alone",
                "a fit without the penalty where there is one",
            )

    def _refuse_robust(self) -> None:
        if self.penalty is not None:
            raise OptionError(
                f"the robust covariance of a fit with penalty={self.penalty!r}",
                "scores that add up to zero, as at the maximum of the likelihood alone: where responses are separated, "
                "the sandwich is far too small",
                'cov="observed", conf_int(method="profile"), or a fit without the penalty where there is one',
            )

    @property
    def _penalized(self) -> str:
        """A word for titles, with a space behind."""
        return "" if self.penalty is None else "penalised "

    def _penalty_facts(self) -> list[tuple[str, str]]:
        return [] if self.penalty is None else [("Penalty", self._penalty_in_words)]

    @property
    def _penalty_in_words(self) -> str:
        return "" if self.penalty is None else IN_WORDS[self.penalty]

    def _penalized_facts(self) -> list[tuple[str, str]]:
        if self.penalized_loglik is None:
            return []
        words = "the maximum; log-likelihood, AIC, BIC and deviance are without the penalty"
        return [("With the penalty", f"{self.penalized_loglik:.4f} ({words})")]
