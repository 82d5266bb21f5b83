"""Many replicates: the same numbers in any number of threads, failures counted, interruptible."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.errors import DataError, OptionError
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates


def draw(rng: np.random.Generator) -> float:
    return float(rng.normal())


def test_the_same_numbers_in_any_number_of_threads() -> None:
    one, four = run_replicates(draw, 50, seed=3), run_replicates(draw, 50, seed=3, n_jobs=4)
    assert np.array_equal(one.values, four.values)
    assert (one.seed, one.wanted, one.failures, one.interrupted) == (3, 50, (), False)
    # and the first replicates do not depend on how many follow
    assert np.array_equal(run_replicates(draw, 10, seed=3).values, one.values[:10])


def test_a_fresh_seed_is_reported_and_repeats() -> None:
    first = run_replicates(draw, 5)
    assert np.array_equal(run_replicates(draw, 5, seed=first.seed).values, first.values)
    assert not np.array_equal(run_replicates(draw, 5).values, first.values)
    child = np.random.SeedSequence(1).spawn(2)[1]
    assert np.array_equal(run_replicates(draw, 5, seed=child).values, run_replicates(draw, 5, seed=child).values)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_failures_are_counted_by_their_reason(n_jobs: int) -> None:
    def sometimes(rng: np.random.Generator) -> float:
        x = float(rng.random())
        if x < 0.3:
            raise ReplicateError("too small")
        if x < 0.4:
            raise DataError("no data", "data", "look")
        return x

    found = run_replicates(sometimes, 200, seed=1, n_jobs=n_jobs)
    assert [reason for reason, _ in found.failures] == ["too small", "no data"]
    assert len(found.values) + sum(count for _, count in found.failures) == 200
    assert found.values.min() >= 0.4


def test_other_errors_are_not_swallowed() -> None:
    def wrong(rng: np.random.Generator) -> float:
        raise ZeroDivisionError

    for n_jobs in (1, 2):
        with pytest.raises(ZeroDivisionError):
            run_replicates(wrong, 5, seed=1, n_jobs=n_jobs)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interruption_keeps_what_was_done(n_jobs: int) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 40
        if done >= 10:
            raise KeyboardInterrupt

    found = run_replicates(draw, 40, seed=1, n_jobs=n_jobs, progress=stop)
    assert found.interrupted
    assert 10 <= len(found.values) < 40
    if n_jobs == 1:
        assert np.array_equal(found.values, run_replicates(draw, 10, seed=1).values)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    run_replicates(draw, 4, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    run_replicates(draw, 4, seed=1, progress=True)


@pytest.mark.parametrize(
    ("n", "seed", "n_jobs"), [(0, 1, 1), (True, 1, 1), (2.5, 1, 1), (5, -1, 1), (5, "a", 1), (5, 1, 0), (5, 1, -2)]
)
def test_bad_options(n: object, seed: object, n_jobs: object) -> None:
    with pytest.raises(OptionError):
        run_replicates(draw, n, seed, n_jobs)  # type: ignore[arg-type]
