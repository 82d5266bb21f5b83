"""The core's kernels are not slower than they were: times over a floor of the same run, beside stored ratios.

Absolute times differ by machine and hour; ratios to what NumPy takes for X'WX and one exp per row hardly do. `make
test` runs this alone, after everything else. `python benchmarks/kernels.py --again` stores the ratios of a core that is
meant to be slower.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import kernels  # noqa: E402
import record  # noqa: E402

MARGIN = 1.3
"""From run to run, on a machine busy with other work, the ratios differed by 8%."""
ELSEWHERE = 2.0
"""Other processors with the same vectors have other caches, and compare differently with BLAS."""


def slower(
    stored: dict[str, float], measure: Callable[[], dict[str, float]], margin: float = MARGIN, tries: int = 2
) -> dict[str, float]:
    """Kernels beyond the margin at their best of several tries, and by how much; empty when all is well."""
    best = dict.fromkeys(stored, float("inf"))
    for _ in range(tries):
        found = measure()
        best = {name: min(value, found[name]) for name, value in best.items()}
        if all(value <= margin * stored[name] for name, value in best.items()):
            return {}
    return {name: value / stored[name] for name, value in best.items() if value > margin * stored[name]}


@pytest.mark.alone
def test_kernels_are_as_fast_as_they_were():
    known = kernels.stored()
    if known is None:
        pytest.skip(
            f"no ratios are stored for machines with {kernels.vectors()} (python benchmarks/kernels.py stores them)"
        )
    ratios, machine = known
    assert slower(ratios, kernels.ratios, MARGIN if machine == record.machine() else ELSEWHERE) == {}


@pytest.mark.alone
def test_a_kernel_one_and_a_half_times_slower_is_found():
    data = kernels.samples(4000)["logit"]
    as_it_was = kernels.marginal(data, "logit", 8)

    def slowed() -> object:
        start = time.process_time()
        result = as_it_was()
        end = start + 1.5 * (time.process_time() - start)
        while time.process_time() < end:
            pass
        return result

    def measure(kernel: Callable[[], object]) -> dict[str, float]:
        return kernels.least_ratios({"floor": kernels.floor(data), "kernel": kernel}, turns=200)

    known = measure(as_it_was)
    assert slower(known, lambda: measure(as_it_was)) == {}
    assert slower(known, lambda: measure(slowed)).keys() == {"kernel"}


def test_a_slow_spell_is_given_a_second_try():
    answers = iter([{"kernel": 3.0}, {"kernel": 2.1}])
    assert slower({"kernel": 2.0}, lambda: next(answers)) == {}


def test_a_kernel_that_is_slow_twice_is_named_with_its_ratio():
    answers = iter([{"kernel": 4.0, "other": 1.0}, {"kernel": 3.0, "other": 9.0}])
    assert slower({"kernel": 2.0, "other": 1.0}, lambda: next(answers)) == {"kernel": 1.5}
