"""Replicates on the workers of a Dask cluster: the numbers of this process, whatever happens to the workers."""

from __future__ import annotations

import numpy as np
import pytest

import clusterglm as cg
from clusterglm.engine.tasks import results
from clusterglm.errors import DataError, EngineError, OptionError
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own


@pytest.fixture(scope="module")
def engine(client):
    return cg.engine.Dask(client)


@pytest.fixture(scope="module")
def fits():
    bacteria = cg.datasets.load("bacteria")
    options = {"formula": "y ~ week", "data": bacteria, "cluster": "ID"}
    verbs = (cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional)
    return {verb.__name__: verb(**options) for verb in verbs}


@pytest.mark.parametrize("name", ["pooled", "random_effects", "fixed_effects", "conditional"])
def test_bootstraps_give_the_same_numbers(fits, engine, name) -> None:
    here, there = (fits[name].bootstrap(30, seed=2, engine=where) for where in (None, engine))
    assert np.array_equal(here.replicates, there.replicates)
    assert (here.failures, here.seed) == (there.failures, there.seed)
    here, there = (fits[name].conf_int(method="bootstrap", n_boot=30, seed=2, engine=where) for where in (None, engine))
    assert here.equals(there)


@pytest.mark.parametrize("name", ["random_effects", "fixed_effects"])
@pytest.mark.parametrize("method", ["bootstrap", "permutation"])
def test_tests_of_clustering_give_the_same_numbers(fits, engine, name, method) -> None:
    here, there = (
        fits[name].test_clustering(method, n_boot=30, seed=3, insist=True, engine=where) for where in (None, engine)
    )
    assert np.array_equal(here.replicates, there.replicates)
    assert str(here) == str(there)


def test_failures_are_counted_and_progress_is_told(engine) -> None:
    def sometimes(rng: np.random.Generator) -> float:
        x = float(rng.random())
        if x < 0.3:
            raise ReplicateError("too small")
        if x < 0.4:
            raise DataError("no data", "data", "look")
        return x

    seen: list[int] = []
    here = run_replicates(sometimes, 60, seed=1)
    there = run_replicates(sometimes, 60, seed=1, engine=engine, progress=lambda done, total: seen.append(done))
    assert np.array_equal(here.values, there.values)
    assert here.failures == there.failures
    assert seen == [*range(1, 61)]
    child = np.random.SeedSequence(5).spawn(3)[2]
    here, there = (run_replicates(sometimes, 9, seed=child, engine=where) for where in (None, engine))
    assert np.array_equal(here.values, there.values)


def test_an_interruption_keeps_what_was_done(fits, engine) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    found = fits["random_effects"].bootstrap(100, seed=1, engine=engine, progress=stop)
    assert found.interrupted
    assert len(found.replicates) == 20


def test_the_replicates_of_a_lost_worker_are_run_again(fits, cluster, engine) -> None:
    seen: list[int] = []

    def kill(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 20:
            next(iter(cluster.workers.values())).process.process.kill()

    fit = fits["random_effects"]
    here = fit.bootstrap(200, seed=4)
    there = fit.bootstrap(200, seed=4, engine=engine, progress=kill)
    assert np.array_equal(here.replicates, there.replicates)
    assert seen[-1] == 200


def test_other_errors_come_back(engine) -> None:
    def wrong(rng: np.random.Generator) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_replicates(wrong, 5, seed=1, engine=engine)


class Dying:
    """A client whose workers are lost with every task."""

    def __init__(self, times: int) -> None:
        self.times = times

    def scatter(self, data: list[object], **options: object) -> list[object]:
        return data

    def submit(self, function, work, numbers, pure: bool) -> Dying:
        self.key, self.done = "key", lambda: function(work, numbers)
        return self

    def add_done_callback(self, tell) -> None:
        tell(self)

    def result(self) -> object:
        from distributed import KilledWorker

        self.times -= 1
        if self.times >= 0:
            raise KilledWorker("key", None, 3)
        return self.done()

    def cancel(self, futures: list[object]) -> None:
        assert futures == []


def test_tasks_that_end_their_workers() -> None:
    assert dict(results(Dying(4), lambda k: k * k, 3, share=3)) == {0: 0, 1: 1, 2: 4}
    with pytest.raises(EngineError, match="with the same tasks"):
        dict(results(Dying(99), lambda k: k * k, 3, share=3))


class Nobody:
    """A scheduler whose workers have left."""

    def scheduler_info(self, n_workers: int) -> dict[str, dict[str, object]]:
        return {"workers": {}}


def test_no_workers(fits) -> None:
    with pytest.raises(EngineError, match="without workers"):
        fits["pooled"].bootstrap(5, engine=cg.engine.Dask(Nobody()))


@pytest.mark.parametrize("engine", ["dask", cg.engine.Stream()])
def test_engines_without_workers_are_refused(fits, engine) -> None:
    with pytest.raises(OptionError, match=r"Dask\(client\)"):
        fits["pooled"].bootstrap(5, engine=engine)
