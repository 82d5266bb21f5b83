"""Peers: timed in turns, their answers compared with ours, a wrong one said to be wrong, a missing one named."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import record  # noqa: E402
import simulate  # noqa: E402
from peers import base, r, statsmodels  # noqa: E402

import clusterglm as cg  # noqa: E402


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulate.logit(100)


def figures(peer: base.Peer, data: pd.DataFrame) -> list[record.Figure | record.Missing]:
    return base.figures([peer], data, {str(peer.ours): [0.5]}, turns=1, budget=10.0)


@pytest.mark.parametrize("peer", [statsmodels.POOLED, statsmodels.CONDITIONAL], ids=lambda peer: peer.name)
def test_a_peer_that_fits_the_same_model_finds_the_same(peer, data):
    time, ratio = figures(peer, data)
    assert time.note.startswith("the same estimates, within ")
    assert "standard errors 1.000 to 1.000 of ours" in time.note
    assert ratio.value == pytest.approx(time.value / 0.5)


@pytest.mark.parametrize(
    ("away", "said"), [(0.001, "the same"), (0.1, "nearly the same"), (2.0, "OTHER ESTIMATES, up to 2")]
)
def test_an_answer_that_is_away_from_ours_is_said_to_be(away, said, data):
    def prepare(data):
        fit = base.ours(data, statsmodels.POOLED)
        return lambda: base.Answer(fit.params.to_numpy() + np.array([0, 0, away, 0, 0, 0]) * fit.bse.to_numpy())

    time, _ = figures(dataclasses.replace(statsmodels.POOLED, prepare=prepare), data)
    assert time.note.startswith(said)


def test_a_peer_without_an_answer_is_named_and_does_not_stop_the_others(data):
    def fails(data):
        raise RuntimeError("no convergence")

    peers = [
        dataclasses.replace(statsmodels.POOLED, name="absent", package="no-such-package"),
        dataclasses.replace(statsmodels.POOLED, name="broken", prepare=fails),
        dataclasses.replace(statsmodels.POOLED, name="slow", most=99),
        statsmodels.POOLED,
    ]
    found = base.figures(peers, data, {}, turns=1, budget=10.0)
    assert [(one.words, one.why) for one in found if isinstance(one, record.Missing)] == [
        ("absent", "not installed"),
        ("broken", "failed: RuntimeError: no convergence"),
        ("slow, 100 clusters", "too slow: up to 99"),
    ]
    assert [one.words for one in found if isinstance(one, record.Figure)] == [statsmodels.POOLED.name]


def test_every_fit_of_the_r_script_has_one_of_ours_beside_it():
    names = re.findall(r'^ +peer\("([^"]+)"', (BENCHMARKS / "peers" / "fits.R").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(r.PEERS)
    assert len(names) > 5


def test_without_r_its_packages_are_named_as_missing(data, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (missing,) = r.figures("random", data, 1, dict)
    assert missing == record.Missing("R's lme4, glmmTMB, glmmML, GLMMadaptive, fixest", "R is not installed")


def test_what_is_taken_off_for_the_formula_is_what_a_fit_does(data):
    import random_effects

    design, X = random_effects.formula_alone(data)()
    fitted = cg.pooled(simulate.FORMULA, data).data
    np.testing.assert_array_equal(X, fitted.X)
    assert design == fitted.design
    formulas, arrays = ([p for p in random_effects.PEERS if p.reads_formulas is reads] for reads in (True, False))
    assert {peer.package for peer in formulas} == {"glmm"}
    assert {peer.package for peer in arrays} == {"glum", "gpboost", "statsmodels"}
