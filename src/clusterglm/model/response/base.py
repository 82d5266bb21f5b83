"""The interface of a response model: a family with a link, and everything that the package asks of one.

Every row enters as two non-negative numbers (a, b), weights included (`Response.rows`), and the core knows nothing
else of it: its log-probability is a kernel, `Response.value`, plus a constant free of eta. Nothing outside this folder
asks for a family or a link by name: what matters about one is an attribute here. Attributes have cautious values until
a response says otherwise, so that a new one is refused what it may not do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array, Jet

CERTAIN = 1e-9
"""Probability of an event, or mean count, that is as good as none."""
BEYOND_SUMMIT = 2.0
"""How far linear predictors may be from the most likely ones and be looked at."""


@dataclass(frozen=True)
class Words:
    """What a response is called in summaries, labels and errors.

    Parameters
    ----------
    mean, expectation : str
        An observed or predicted mean ("share of successes"), and what the model says it is ("Probability").
    squared_error : str
        Mean squared difference between a response and its prediction.
    total, totals : str
        Sum over a cluster, and the axis on which clusters are counted by it.
    low : str
        What all responses at the lower end are: "the cluster's responses are all failures".
    only_low, all_low, nothing : str
        The same after "clusters with", of a cluster in a table, and of all the data.
    high, all_high : str
        Of the upper end; empty where there is none.
    varied, some : str
        What a cluster needs whose responses are to vary, and what the data need.
    separated : str
        What covariates tell from what where they separate the responses.
    events : str
        What there has to be enough of for each coefficient.
    """

    mean: str
    expectation: str
    squared_error: str
    total: str
    totals: str
    low: str
    only_low: str
    all_low: str
    nothing: str
    varied: str
    some: str
    separated: str
    events: str
    high: str = ""
    all_high: str = ""


class ScoreTerms(NamedTuple):
    """What a score test of the variance between clusters takes from each row, shape (n,) each.

    Parameters
    ----------
    G, H : ndarray
        First and second derivative of the row's log-likelihood in the linear predictor.
    v, variance, covariance : ndarray
        Of one trial or count: E[G^2], Var(G^2 + H) and Cov(G^2 + H, G).
    """

    G: Array
    H: Array
    v: Array
    variance: Array
    covariance: Array


class Response(ABC):
    """A family and link; stateless, and equal to any other instance of its class."""

    family: ClassVar[str]
    link: ClassVar[str]
    code: ClassVar[str]
    """Name by which the compiled core knows the kernel; several responses may share one."""
    default: ClassVar[bool] = False
    """Whether this is the family's link where none is named."""

    words: ClassVar[Words]
    ratio: ClassVar[tuple[str, str] | None] = None
    """What the exponential of a coefficient is called, and that of the intercept; None where it is no ratio."""
    ratio_sign: ClassVar[float] = 1.0
    """Sign of the coefficient whose exponential the ratio is."""
    no_ratio: ClassVar[str] = ""
    """Why there is no ratio, as the end of a sentence."""

    # What a response is

    grouped: ClassVar[bool] = False
    """Whether two columns, successes and failures, may be the response."""
    two_levels: ClassVar[bool] = False
    """Whether a column of two levels (or 0/1) is the response, rather than one of counts."""
    trials: ClassVar[bool] = False
    """Whether a row is a number of trials, independent given the linear predictor; its mean is their probability."""
    bounded: ClassVar[bool] = False
    """Whether means end at 1, rather than nowhere."""
    least: ClassVar[float] = 0.0
    """The least response that there can be, where means end."""
    ordered: ClassVar[bool] = False
    """Whether a column of ordered categories is the response."""
    continuous: ClassVar[bool] = False
    """Whether responses are measured: any finite numbers, which have a density."""
    positive: ClassVar[bool] = False
    """Whether measured responses are positive."""
    durations: ClassVar[bool] = False
    """Whether survival times, some of them censored, are the response."""
    unbounded_counts: ClassVar[bool] = False
    """Whether responses are counts without an upper end."""
    zero_inflation: ClassVar[bool] = False
    """Whether more zeros than the model expects are worth a test."""

    # What its likelihood allows

    additive: ClassVar[bool] = False
    """Whether log-probabilities are linear in (a, b): rows with one linear predictor are one row with their sums."""
    log_concave: ClassVar[bool] = False
    """Whether log-probabilities are concave in the linear predictor, and so those of clusters in their intercepts."""
    one_summit: ClassVar[bool] = False
    """Whether the likelihood of any cluster rises to one summit in its intercept and falls from there on."""
    totals_suffice: ClassVar[bool] = False
    """Whether a cluster's total is sufficient for its intercept, and the likelihood given totals known.

    It is for trials with the canonical link, and for counts with `poisson_totals`."""
    poisson_totals: ClassVar[bool] = False
    """Whether sums of rows are Poisson, and an intercept is a factor of them.

    Given a cluster's total rows are then multinomial, in proportion to their means, and the likelihood given totals is
    that at the best intercepts, but for a constant."""
    intercepts_bias: ClassVar[bool] = True
    """Whether estimating an intercept for every cluster biases the coefficients."""

    # What averaging over intercepts does

    exponential_mean: ClassVar[bool] = False
    """Whether the mean is exp(eta), so that an intercept is a factor of it."""
    exponential_tail: ClassVar[bool] = False
    """Whether log P falls as exp(eta) does where the mean is not exp(eta): no search may begin far above."""
    mean_is_a_row: ClassVar[bool] = True
    """Whether a row with a = 1 and b = 0 adds the logarithm of the mean: a success, or an exponential mean."""
    variance_curvature: ClassVar[float]
    """c of the variance function, s mean + c mean^2."""
    variance_slope: ClassVar[float] = 1.0
    """s of the variance function."""
    latent_variance: ClassVar[float | None] = None
    """Variance of the latent variable's error, whose distribution function is the inverse link; None without one."""
    normal_latent: ClassVar[bool] = False
    """Whether that error is standard normal: averaged over Gaussian intercepts, the link stays what it is."""
    attenuation: ClassVar[float] = 0.0
    """k of the factor (1 + k variance)^-1/2 by which averaging over intercepts shrinks coefficients, about."""

    # Rows and their sums

    @abstractmethod
    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        """The numbers (a, b) of rows, shape (n,) each, arrays of their own.

        Parameters
        ----------
        y, trials : ndarray, shape (n,)
            Successes of so many trials, or counts (and ones).
        weights : ndarray, shape (n,)
            Case weights.
        """

    @abstractmethod
    def sizes(self, a: Array, b: Array) -> Array:
        """What a row's observed mean is an average of, a over this: weighted trials, or the weights of counts."""

    @abstractmethod
    def amount(self, a: float, b: float) -> float:
        """How much rows with these sums of a and b can tell: trials, or the sum of counts."""

    @abstractmethod
    def events(self, a: float, b: float) -> float:
        """`words.events` among rows with these sums of a and b."""

    @abstractmethod
    def overall_mean(self, a: float, b: float, expected: float) -> float:
        """The mean (at an offset of zero) that rows share without covariates.

        Parameters
        ----------
        a, b, expected : float
            Sums of a, of b, and, where the mean is exponential, of b exp(offset).
        """

    def raised(self, b: float, expected: float) -> float:
        """What offsets, for which `overall_mean` does not allow, add to linear predictors on the whole.

        Parameters
        ----------
        b, expected : float
            Sums of b, and, where log P falls exponentially, of b exp(offset).
        """
        return float(np.log(expected / b)) if self.exponential_tail and b > 0.0 else 0.0

    @abstractmethod
    def rises_towards(self, a: Array, b: Array) -> Array:
        """Where a log-likelihood with these (a, b) has its supremum: -1 and 1 at the ends of eta, 0 at a maximum."""

    def is_binary(self, trials: Array) -> bool:
        """Whether every row is a single trial, given the trials of each."""
        if not self.trials:
            return False
        return bool(trials[0] == 1.0) if trials.strides == (0,) and len(trials) > 0 else bool(np.all(trials == 1.0))

    # Moments

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """Mean of one trial (binomial: probability) or of the count, from the linear predictor."""

    @abstractmethod
    def mean_derivative(self, eta: Array) -> Array:
        """d mean / d eta."""

    @abstractmethod
    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        """The mean and its first three derivatives in the linear predictor, accurate in both tails."""

    @abstractmethod
    def variance(self, mean: Array) -> Array:
        """Variance of one trial, or of the count, that has this mean."""

    def overdispersion(self, a: Array, b: Array) -> Array:
        """Variance of rows over that of as many independent trials, or of the count: what `variance` leaves out."""
        return np.ones(np.shape(a))

    @abstractmethod
    def variance_inside(self, observed: Array) -> Array:
        """Variance, about their mean, of the single observations that rows with these observed means stand for."""

    @abstractmethod
    def link_function(self, mu: Array) -> Array:
        """Linear predictor that has mean `mu`; -inf or inf at the ends of the range."""

    # Probabilities

    def span(self, a: Array, b: Array) -> tuple[float | Array, float | Array]:
        """Where linear predictors of rows with these numbers can be told apart: the least and the largest.

        Further out a response is as good as certain, or there is nothing that is more likely there.
        """
        low = float(self.link_function(np.array(self.least + CERTAIN)))
        if self.bounded:
            return low, float(self.link_function(np.array(1.0 - CERTAIN)))
        most = (a / self.sizes(a, b)).max()
        return low, float(self.link_function(most + 1.0)) + 2.0

    @abstractmethod
    def value(self, eta: Array, a: Array, b: Array) -> Array:
        """Kernel of the log-likelihood, row by row (shapes broadcast)."""

    @abstractmethod
    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        """Kernel and its first four derivatives in eta, row by row (shapes broadcast).

        Stable and free of warnings for |eta| up to 700; -inf where exp(eta) times the weight overflows.
        """

    def slope(self, eta: Array, a: Array, b: Array) -> Array:
        """The first of these derivatives, where it is cheaper to have alone."""
        return self.derivatives(eta, a, b)[1]

    @abstractmethod
    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        """What the kernel leaves out of each row's weighted log-probability, shape (n,); as in `rows`."""

    @abstractmethod
    def saturated(self, a: Array, b: Array) -> Array:
        """Maximum (supremum) of the kernel over eta, row by row."""

    @abstractmethod
    def magnitude(self, a: Array, b: Array) -> Array:
        """Sum of the absolute values of a row's terms, constants included, near where its likelihood is highest."""

    @abstractmethod
    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        """P(Y <= y) and P(Y > y), each accurate where it is small.

        Parameters
        ----------
        y : ndarray
            Successes, or counts; whole numbers, -1 among them.
        eta : ndarray
            Linear predictor; -inf and inf are allowed. The three broadcast.
        trials : ndarray
            Of a binomial.
        """

    def before(self, y: Array) -> Array:
        """The response below y, so that P(Y < y) is P(Y <= before(y)): y itself where responses have a density."""
        return y - 1.0

    @abstractmethod
    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        """Draw successes out of `trials` (default 1), or counts, with mean `mu` per trial; floats, shaped like `mu`."""

    def of_rows(self, rows: NDArray[np.int64] | slice) -> Response:
        """The response of some of the rows: itself, unless something is known of each."""
        return self

    def in_rows(self, y: Array, a: Array, b: Array) -> Array:
        """New responses, as `rows` takes them, of rows whose numbers were a and b."""
        return y

    def known(self, a: Array, b: Array, trials: Array) -> Array:
        """What `draw` needs to know of rows besides linear predictors, as its `trials`."""
        return trials

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        """The same at linear predictors `eta`."""
        return self.simulate(rng, self.mean(eta), trials)

    # Information

    @abstractmethod
    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        """Expected information of one trial, or of one count, on eta, with its first two derivatives in eta."""

    @abstractmethod
    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        """E[G^2] and E[G H] + E[I] / 2 of one trial or count, with the derivatives G, H, I of its log-probability.

        The first is 0 where float64 has the mean at an end.
        """

    @abstractmethod
    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        """What a score test needs of the rows with these (a, b); see `ScoreTerms`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
