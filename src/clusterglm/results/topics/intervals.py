"""Intervals of a result's parameters: Wald, profile likelihood, bootstrap, jackknife."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import chdtri

from clusterglm.errors import IntervalWarning, OptionError, check_option, nearest
from clusterglm.inference.uncertainty.degrees import covariance_with, read_degrees, t_interval
from clusterglm.inference.uncertainty.intervals import (
    INTERVALS,
    RESAMPLES,
    check_level,
    wald_interval,
    wald_interval_of_scale,
    with_alpha,
)
from clusterglm.model.arguments import number, shown, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Index, Parameters
from clusterglm.results.topics.resampling import Resampling

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.inference.uncertainty.peaks import Summit
    from clusterglm.inference.uncertainty.profiling import Crossing, Peak
    from clusterglm.model.workers import Progress
    from clusterglm.results.tables.jackknife import Jackknife

METHODS = ("wald", "profile", "bootstrap", "jackknife")


@dataclass(frozen=True)
class ProfileCurve:
    """The log-likelihood maximised over all parameters but one.

    Parameters
    ----------
    parameter : str
    value : ndarray, shape (k,)
        Of the parameter, ascending.
    loglik : ndarray, shape (k,)
        Normalised profile log-likelihood.
    root : ndarray, shape (k,)
        Signed root of twice its distance from the maximum: a straight line of slope 1 / (standard error) where the
        likelihood is quadratic.
    estimate : float
    """

    parameter: str
    value: Array
    loglik: Array
    root: Array
    estimate: float

    def to_frame(self) -> pd.DataFrame:
        """Columns `value`, `loglik`, `root`."""
        import pandas as pd

        return pd.DataFrame({"value": self.value, "loglik": self.loglik, "root": self.root})


class Intervals(Resampling):
    """What all results say of the uncertainty of their parameters."""

    if TYPE_CHECKING:
        kind: ClassVar[str]

        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _beta(self) -> Array: ...

    @property
    @abstractmethod
    def _estimates(self) -> Array:
        """All parameters, shape (q,), in the order of `_interval_names`."""

    @property
    @abstractmethod
    def _parameters(self) -> Parameters:
        """What stands where in covariances."""

    @property
    def _with_intervals(self) -> Index:
        """The parameters that intervals are given of: the coefficients, and sigma unless it was held fixed."""
        return self._parameters.coefficients

    @property
    def _interval_names(self) -> list[str]:
        return list(self._parameters.names_of(self._with_intervals))

    @abstractmethod
    def _covariance(self, kind: str) -> Array: ...

    def _degrees(self, R: Array, cov: str, together: bool = False) -> Degrees:
        """Degrees of freedom of combinations of coefficients, (k, p), with one of the covariances; of a joint test."""
        raise OptionError(
            f"degrees of freedom of a {self.kind} fit with family={self.response.family!r} and cov={cov!r}",
            'a linear model (family="gaussian"), or cg.pooled(..., cluster=) with cov="CR2"',
            "df=None; or bootstrap intervals, which need no degrees of freedom",
        )

    def _small_sample(
        self, df: str | None, cov: str, R: Array | None = None, together: bool = False
    ) -> tuple[str, Degrees | None]:
        """The kind of covariance that `cov` and `df` ask for, and degrees of freedom where `df` asks for them.

        They are those of combinations of coefficients, R of shape (k, p), or of each coefficient.
        """
        if not read_degrees(df):
            return cov, None
        assert df is not None
        kind = covariance_with(df, cov)
        found = self._degrees(np.eye(len(self._beta)) if R is None else R, kind, together)
        return kind, found

    @abstractmethod
    def _summit(self, threads: int) -> Summit:
        """The likelihood around its maximum."""

    @with_alpha
    def conf_int(
        self,
        *,
        level: float = 0.95,
        method: str = "wald",
        cov: str = "observed",
        df: str | None = None,
        n_boot: int = 1000,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        engine: Any = None,
        resample: str = "model",
        interval: str = "percentile",
    ) -> pd.DataFrame:
        """Intervals of the parameters.

        Parameters
        ----------
        level : float
            Coverage, from 0.5 to below 1. Here and wherever there is a level, `alpha=0.05` says level=0.95.
        method : {"wald", "profile", "bootstrap", "jackknife"}
            Estimate and standard error (sigma on the log scale); all values at which a likelihood-ratio test does not
            reject; from estimates of simulated data, or of clusters drawn with replacement; or estimate and the
            jackknife's standard error, with Student's t on as many degrees of freedom as there are clusters, less one.
        cov : {"observed", "robust", "quasi"}
            Covariance for Wald intervals.
        df : "satterthwaite" or "kenward_roger", optional
            Of Wald intervals of coefficients: Student's t in the place of a normal distribution. With Satterthwaite's
            degrees of freedom: of linear models, mixed or not, and of pooled models with `cov="CR2"` or another of that
            kind. With those of Kenward and Roger, and their covariance: of linear mixed models by REML.
        n_boot, seed, n_jobs, progress, engine
            Of the bootstrap, see `bootstrap`. `n_jobs` also counts the threads of the profile, and of the jackknife.
        resample : {"model", "clusters"}
            What the bootstrap draws.
        interval : {"percentile", "basic", "normal", "bca"}
            Of the bootstrap; see `BootstrapEstimates.interval`. "bca" fits without each cluster as well.

        Returns
        -------
        DataFrame
            Columns `low` and `high`, a row for each coefficient, and for sigma in a random-intercept model (there, a
            covariate that is called sigma is "`sigma`", as in `cov`, `profile`, `bootstrap` and `influence`). A profile
            that never falls far enough gives -inf or inf; an interval of sigma that reaches the boundary begins at 0.

        Raises
        ------
        OptionError
            When an argument is out of range.

        Warns
        -----
        IntervalWarning
            When ends could not be found (they are nan), or replicates failed.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.conf_int(method="profile").loc["sigma"].round(2).to_list()
        [0.45, 2.14]
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_option("method", method, METHODS)
        names = self._interval_names
        if read_degrees(df) and method != "wald":
            raise OptionError(f"df={df!r} with method={method!r}", "Wald intervals", 'method="wald"')
        check_option("resample", resample, RESAMPLES)
        check_option("interval", interval, INTERVALS)
        if method != "bootstrap" and (resample, interval) != ("model", "percentile"):
            raise OptionError(
                f"resample={resample!r} and interval={interval!r} with method={method!r}",
                "the bootstrap, of which they are",
                'method="bootstrap"',
            )
        if method == "wald":
            kind, degrees = self._small_sample(df, cov)
            low, high = self._wald(level, kind)
            if degrees is not None:
                of_beta = self._parameters.coefficients
                se = np.sqrt(np.diag(self._covariance(kind)))[of_beta]
                low[of_beta], high[of_beta] = t_interval(self._beta, se, degrees.single, level)
        elif method == "profile":
            low, high = self._by_profile(check_level(level), names, n_jobs)
        elif method == "jackknife":
            low, high = self._by_jackknife((n_jobs, progress, engine)).interval(level=level)
        else:
            run = n_boot, seed, n_jobs, progress, engine
            low, high = self._by_bootstrap(check_level(level), resample, interval, run)
        return shown(pd.DataFrame({"low": low, "high": high}, index=names))

    def profile(self, parameter: str, to: float = 3.0, points: int = 13, threads: int = 1) -> ProfileCurve:
        """The profile log-likelihood of one parameter, for a look at its shape.

        Parameters
        ----------
        parameter : str
            Name of a coefficient, or "sigma": of random intercepts, beside which a covariate of that name is
            "`sigma`".
        to : float
            How far on either side, in standard errors of a quadratic likelihood: values whose signed root is `to`.
        points : int
            On the whole curve, an odd number.
        threads : int
            0 for every core.

        Returns
        -------
        ProfileCurve
            Points that could not be found are left out, with a warning.

        Raises
        ------
        OptionError
            On an unknown parameter.
        """
        names = self._interval_names
        number("to", to, 1e-3, 37.0, advice="to=3")  # further out a normal density is 0
        whole_number("points", points, 3, advice="points=13")
        if not names:
            raise OptionError("a profile of a model without coefficients", "a parameter", "add a covariate")
        if not isinstance(parameter, str) or parameter not in names:
            raise OptionError(
                f"parameter={shown(parameter)}",
                f"one of {', '.join(names)}",
                f"{nearest(str(parameter), names)}a name from result.params, or 'sigma'",
            )
        summit = self._summit(Control(n_threads=threads).threads)
        peak = summit.peaks[names.index(parameter)]
        top = peak.evaluation.value
        rows = [(peak.read(peak.estimate), top, 0.0)]
        lost = 0
        for side in (-1, 1):
            at: Crossing | None = None
            for k in range(1, points // 2 + 1):
                root = to * k / (points // 2)
                at = self._crossing(peak, 0.5 * root * root, side, at)
                if at.status == "bound":
                    rows.append((at.value, at.loglik, side * float(np.sqrt(max(2.0 * (top - at.loglik), 0.0)))))
                    break
                if at.status != "found":
                    lost += at.status == "failed"
                    break
                rows.append((at.value, at.loglik, side * root))
        if lost:
            warnings.warn(f"the profile of {parameter} could not be followed to {to:g}", IntervalWarning, stacklevel=2)
        value, loglik, signed = np.array(sorted(rows)).T
        return ProfileCurve(parameter, value, loglik + summit.constant, signed, rows[0][0])

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        check_option("cov", cov, self._covariances)
        estimates, which = self._estimates, self._with_intervals
        se = np.sqrt(np.diag(self._covariance(cov)))[which]
        low, high = wald_interval(estimates, se, level)
        for j in np.flatnonzero(self._parameters.are_scales[which]).tolist():
            low[j], high[j] = wald_interval_of_scale(float(estimates[j]), float(se[j]), level)
        return low, high

    def _crossing(self, peak: Peak, drop: float, side: int, begin: Crossing | None = None) -> Crossing:
        """Where the profile of a parameter has fallen so far; see `profiling.crossing`."""
        from clusterglm.inference.uncertainty.profiling import crossing

        return crossing(peak, drop, side, begin)

    def _end(self, peak: Peak, drop: float, side: int) -> Crossing:
        """An end of its interval."""
        return self._crossing(peak, drop, side)

    def _by_bootstrap(
        self, level: float, resample: str, kind: str, run: tuple[int, Any, int, Progress, Any]
    ) -> tuple[Array, Array]:
        found = self.bootstrap(*run, resample)
        if found.failures or found.interrupted:
            warnings.warn(str(found), IntervalWarning, stacklevel=4)
        without = self._by_jackknife(run[2:], stacklevel=5) if kind == "bca" else None
        return found.interval(level=level, kind=kind, jackknife=without)

    def _by_jackknife(self, run: tuple[int, Progress, Any], stacklevel: int = 4) -> Jackknife:
        n_jobs, progress, engine = run
        found = self.jackknife(n_jobs=n_jobs, progress=progress, engine=engine)
        if found.caveats:
            warnings.warn("\n".join([found.heading, *found.caveats]), IntervalWarning, stacklevel=stacklevel)
        return found

    def _by_profile(self, level: float, names: list[str], n_jobs: int) -> tuple[Array, Array]:
        drop = 0.5 * float(chdtri(1.0, 1.0 - level))
        peaks = self._summit(Control(n_threads=0 if n_jobs == -1 else n_jobs).threads).peaks
        ends = [[self._end(peak, drop, side) for side in (-1, 1)] for peak in peaks]
        lost = [name for name, pair in zip(names, ends, strict=True) if any(end.status == "failed" for end in pair)]
        if lost:
            warnings.warn(
                f"the profile of {', '.join(lost)} could not be followed to where it ends; the interval is nan there",
                IntervalWarning,
                stacklevel=4,
            )
        low, high = np.array([[end.value for end in pair] for pair in ends]).reshape(-1, 2).T
        return low, high
