"""What a response claims of itself is true: each claim against probabilities summed over the outcomes of one row."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from clusterglm.model.family import RESPONSES
from clusterglm.model.response.base import Response

MODELS = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
ETA = np.array([-2.3, -0.4, 0.0, 0.7, 1.6])
A, B = np.array([0.0, 2.0, 1.5, 4.0, 0.3]), np.array([1.0, 0.5, 3.0, 1.0, 2.0])


def numbers(model: Response) -> np.ndarray:
    """What a of rows with these b may be."""
    return A + model.least * B


def outcomes(model: Response, eta: float, trials: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All values y that a row can take, their a and b, and their probabilities."""
    y = np.arange(trials + 1.0) if model.trials else np.arange(model.least, 400.0)
    n, one = np.full(len(y), trials), np.ones(len(y))
    a, b = model.rows(y, n, one)
    return y, a, b, np.exp(model.value(eta * one, a, b) + model.log_constants(y, n, one))


@MODELS
@pytest.mark.parametrize("trials", [1.0, 5.0])
@pytest.mark.parametrize("eta", ETA)
def test_probabilities_have_the_moments_and_the_tails_that_it_says(model: Response, eta: float, trials: float) -> None:
    y, _, _, p = outcomes(model, eta, trials)
    size = trials if model.trials else 1.0
    mean = model.mean(np.array([eta]))
    assert p.sum() == pytest.approx(1.0, rel=1e-12)
    assert p @ y == pytest.approx(size * mean[0], rel=1e-11)
    assert p @ y**2 - (p @ y) ** 2 == pytest.approx(size * model.variance(mean)[0], rel=1e-10)
    of_mean = model.variance_slope * mean + model.variance_curvature * mean**2
    assert (
        model.variance(mean) == pytest.approx(of_mean, rel=1e-12)
        if model.least == 0.0
        else (model.variance(mean) < of_mean)
    )
    upto, above = model.tails(y, np.full(len(y), eta), np.full(len(y), trials))
    np.testing.assert_allclose(upto, np.cumsum(p), rtol=1e-11)
    np.testing.assert_allclose(above, np.cumsum(p[::-1])[::-1] - p, rtol=1e-9, atol=1e-13)


@MODELS
@pytest.mark.parametrize("eta", ETA)
def test_expectations_of_derivatives_are_what_it_says(model: Response, eta: float) -> None:
    _, a, b, p = outcomes(model, eta)
    at = np.array([eta])
    _, G, H, third, _ = model.derivatives(np.full(len(a), eta), a, b)
    squared = G * G + H
    first, second = model.bias_moments(at)
    assert first[0] == pytest.approx(p @ G**2, rel=1e-10)
    assert second[0] == pytest.approx(p @ (G * H + 0.5 * third), rel=1e-9, abs=1e-13)
    assert model.expected_information(at)[0][0] == pytest.approx(-(p @ H), rel=1e-10)
    found = model.score_terms(at, np.array([2.0]), np.array([3.0]))
    sums = [p @ G**2, p @ squared**2, p @ (squared * G)]  # the square has mean 0
    np.testing.assert_allclose([float(each[0]) for each in found[2:]], sums, rtol=1e-9, atol=1e-13)
    own = model.derivatives(at, np.array([2.0]), np.array([3.0]))
    np.testing.assert_allclose([found.G[0], found.H[0]], [own[1][0], own[2][0]], rtol=1e-12)


@MODELS
def test_derivatives_of_the_mean(model: Response) -> None:
    step, found = 1e-3, model.mean_derivatives(ETA)
    np.testing.assert_array_equal(found[0], model.mean(ETA))
    for k in range(3):
        ends = [model.mean_derivatives(ETA + shift * step)[k] for shift in (-2, -1, 1, 2)]
        slope = (ends[0] - 8.0 * ends[1] + 8.0 * ends[2] - ends[3]) / (12.0 * step)
        np.testing.assert_allclose(found[k + 1], slope, rtol=1e-8, atol=1e-9)


@MODELS
def test_rows_and_what_is_made_of_them(model: Response) -> None:
    y, trials, weights = np.array([0.0, 1.0, 3.0]), np.array([2.0, 1.0, 4.0]), np.array([1.0, 2.0, 0.5])
    y, A = y + model.least, numbers(model)
    a, b = model.rows(y, trials, weights)
    np.testing.assert_allclose(a / model.sizes(a, b), y / trials if model.trials else y, rtol=1e-14)
    alone = [model.rows(*(values[k : k + 1] for values in (y, trials, weights))) for k in range(3)]
    np.testing.assert_array_equal(np.concatenate([each[0] for each in alone]), a)
    best = model.link_function(A[1:] / model.sizes(A[1:], B[1:]))
    np.testing.assert_allclose(model.value(best, A[1:], B[1:]), model.saturated(A[1:], B[1:]), rtol=1e-12)
    total = model.overall_mean(float(A.sum()), float(B.sum()), float(B.sum()))
    gain = model.derivatives(model.link_function(np.full(5, total)), A, B)[1].sum()  # the best intercept
    assert gain == pytest.approx(0.0, abs=1e-12)
    assert model.is_binary(np.ones(3)) == model.is_binary(np.broadcast_to(1.0, 3)) == model.trials
    assert not model.is_binary(trials)


@MODELS
def test_where_likelihoods_rise_for_ever(model: Response) -> None:
    a, b = np.array([0.0, 2.0, 1.0, 0.0]), np.array([1.0, 0.0 if model.bounded else 1.0, 3.0, 2.0])
    slope = np.stack([model.derivatives(np.full(4, eta), a, b)[1] for eta in (-30.0, 3.0)])
    rises = np.where(slope[1] > 0.0, 1.0, np.where(slope[0] <= 0.0, -1.0, 0.0))
    np.testing.assert_array_equal(model.rises_towards(a, b), rises)


@MODELS
def test_the_size_of_terms_bounds_the_log_probability(model: Response) -> None:
    y, trials, one = np.array([0.0, 3.0, 40.0]) + model.least, np.array([4.0, 7.0, 90.0]), np.ones(3)
    a, b = model.rows(y, trials, one)
    best = model.saturated(a, b) + model.log_constants(y, trials, one)
    assert (model.magnitude(a, b) >= np.abs(best)).all()


@MODELS
def test_claims_about_the_likelihood(model: Response) -> None:
    A = numbers(model)
    value = model.value(ETA, A, B)
    sums = model.value(ETA, 2.0 * A, 2.0 * B), model.value(ETA, A + 1.0, B) + model.value(ETA, 0.0 * A, 1.0 + 0.0 * B)
    assert np.allclose(sums[0], 2.0 * value, rtol=1e-13) == model.additive
    assert np.allclose(sums[1], model.value(ETA, A + 1.0, B + 1.0), rtol=1e-13) == model.additive
    slope = model.derivatives(ETA, A, B)[1]
    canonical = np.allclose(slope, A - model.sizes(A, B) * model.mean(ETA), rtol=1e-12, atol=1e-13)
    assert canonical == (model.totals_suffice or model.least > 0.0)  # whose totals have no known distribution
    assert model.trials or model.poisson_totals or not model.totals_suffice  # other totals have no likelihood here
    if model.poisson_totals:  # sums of two rows
        assert model.exponential_mean
        parts = [outcomes(model, eta)[3][:50] for eta in (0.1, 0.8)]
        both = outcomes(model, float(model.link_function(model.mean(np.array([0.1])) + model.mean(np.array([0.8])))[0]))
        np.testing.assert_allclose(np.convolve(*parts)[:50], both[3][:50], rtol=1e-9, atol=1e-15)


@MODELS
def test_claims_about_the_mean(model: Response) -> None:
    mean = model.mean(np.array([-600.0, *ETA, 600.0]))
    assert mean[0] - model.least < 1e-100
    assert (mean[-1] == 1.0) == model.bounded
    assert np.allclose(mean[1:-1], np.exp(ETA), rtol=1e-13) == model.exponential_mean
    row = np.exp(model.value(ETA, np.ones(len(ETA)), np.zeros(len(ETA))))
    assert np.allclose(row, mean[1:-1], rtol=1e-13) == model.mean_is_a_row
    assert np.allclose(mean[1:-1], ndtr(ETA), rtol=1e-13) == model.normal_latent
    assert model.trials or model.exponential_mean or model.least > 0.0
    assert model.bounded or not model.trials
    if model.latent_variance is not None:
        x = np.linspace(-80.0, 80.0, 160_001)
        weights = model.mean_derivative(x) * (x[1] - x[0])
        centre = weights @ x
        assert weights @ (x - centre) ** 2 == pytest.approx(model.latent_variance, rel=1e-8)


def test_words_say_something() -> None:
    for model in RESPONSES.values():
        upper = ("high", "all_high")
        assert all(bool(value) or (name in upper and not model.bounded) for name, value in vars(model.words).items())
        assert (model.ratio is None) == bool(model.no_ratio)


@MODELS
def test_the_slope_alone_is_that_of_all_derivatives(model: Response) -> None:
    eta = np.concatenate([ETA, [-700.0, -40.0, 40.0]])
    a, b = np.concatenate([A, [1.0, 0.0, 2.0]]), np.concatenate([B, [0.0, 1.0, 0.5]])
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(model.slope(eta, a, b), model.derivatives(eta, a, b)[1])
