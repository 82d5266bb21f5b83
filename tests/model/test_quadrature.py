"""The Gauss-Hermite rule against its defining property, and the reading of arguments."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from numpy.polynomial.hermite import hermgauss
from scipy.special import gammaln

from clusterglm.errors import OptionError
from clusterglm.model.control import Control
from clusterglm.model.quadrature import Quadrature, check_scale, hermite, quadrature


@pytest.mark.parametrize("nodes", [1, 2, 3, 8, 21, 64, 100])
def test_rule_agrees_with_numpy(nodes):
    x, h = hermgauss(nodes)
    c, log_w = hermite(nodes)
    np.testing.assert_allclose(c, np.sqrt(2) * x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(log_w, np.log(h) + x * x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("nodes", [1, 2, 5, 40, 150, 200])
def test_rule_integrates_even_powers_exactly(nodes):
    """Integral of x^2k exp(-x^2) is Gamma(k + 1/2), for 2k up to 2 n - 1; in logs, as they overflow."""
    c, log_w = hermite(nodes)
    x = c / np.sqrt(2.0)
    for k in {0, nodes // 2, nodes - 1}:
        with np.errstate(divide="ignore"):
            terms = log_w - x * x + (2 * k * np.log(np.abs(x)) if k else 0.0)
        assert np.logaddexp.reduce(terms) == pytest.approx(gammaln(k + 0.5), rel=1e-13, abs=2e-12)


def test_nodes_of_a_large_rule_are_zeros_of_the_hermite_polynomial():
    c, _ = hermite(200)
    with mp.workdps(60):
        for x in c[[0, 50, 137, 199]] / np.sqrt(2.0):
            slack = mp.mpf(1e-14 * (1.0 + abs(x)))
            assert mp.hermite(200, mp.mpf(float(x)) - slack) * mp.hermite(200, mp.mpf(float(x)) + slack) < 0


def test_rule_is_symmetric_cached_and_read_only():
    c, log_w = hermite(9)
    np.testing.assert_array_equal(c, -c[::-1])
    np.testing.assert_allclose(log_w, log_w[::-1], rtol=1e-14)
    assert hermite(9)[0] is c
    with pytest.raises(ValueError, match="read-only"):
        c[0] = 0.0


@pytest.mark.parametrize("nodes", [0, -3, 201, 2.5, True, "8"])
def test_rule_checks_its_size(nodes):
    with pytest.raises(OptionError, match="from 1 to 200"):
        hermite(nodes)


def test_reading_the_argument():
    assert quadrature("laplace") == Quadrature("laplace")
    assert quadrature("auto") == Quadrature("auto", None, 1e-6)
    assert quadrature(8) == quadrature(np.int64(8)) == quadrature("8") == Quadrature("fixed", 8)
    assert quadrature(Quadrature("auto", tolerance=1e-9)).tolerance == 1e-9
    assert isinstance(quadrature(np.int32(8)).nodes, int)
    assert "8 nodes" in str(quadrature(8))
    assert "1 node" in str(quadrature(1))


@pytest.mark.parametrize("value", [0, 101, -1, 8.0, True, None, "gauss", "0", "-8", "1e2", [8]])
def test_bad_arguments_are_answered_with_the_allowed_ones(value):
    with pytest.raises(OptionError, match="'laplace', 'auto', or a whole number of nodes from 1 to 100"):
        quadrature(value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "fixed"},
        {"kind": "fixed", "nodes": 0},
        {"kind": "auto", "nodes": 8},
        {"kind": "dense"},
        {"kind": "auto", "tolerance": 0.0},
        {"kind": "auto", "tolerance": np.nan},
        {"kind": "auto", "tolerance": "small"},
    ],
)
def test_inconsistent_requests_are_refused(arguments):
    with pytest.raises(OptionError):
        Quadrature(**arguments)


def test_scale():
    assert check_scale("normal") == "normal"
    assert check_scale("density") == "density"
    with pytest.raises(OptionError, match="'normal', 'density'"):
        check_scale("log")


def test_control_defaults_and_threads():
    control = Control()
    assert (control.max_iter, control.tol, control.threads) == (100, 1e-6, 1)
    assert Control(n_threads=0).threads == Control(n_threads=None).threads >= 1
    assert Control(n_threads=3).threads == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_iter": 0},
        {"max_iter": 2.5},
        {"max_iter": True},
        {"tol": 0.0},
        {"tol": 1.0},
        {"tol": np.nan},
        {"tol": "1e-8"},
        {"n_threads": -1},
        {"n_threads": 1025},
        {"n_threads": 10**12},
        {"n_threads": 1.0},
        {"progress": 5},
    ],
)
def test_control_is_checked(arguments):
    with pytest.raises(OptionError, match=f"{next(iter(arguments))}="):
        Control(**arguments)
