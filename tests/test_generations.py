"""Kernels are compiled for two generations of x86: each apart, chosen by the processor, with the same numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clusterglm import _core

MODULES = sorted(Path(_core.__file__).parent.glob("_core*"))
V3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
"""Flags of the Linux kernel beyond x86-64-v2; abm means lzcnt."""

EVALUATE = """
import json
import numpy as np
from clusterglm import _core

rng = np.random.default_rng(5)
sizes = np.concatenate([rng.integers(1, 12, 150), [400]])
n, m, p = sizes.sum(), len(sizes), 3
X = rng.normal(size=(n, p))
found = {"side_by_side": np.empty((n, p))}
ranges = np.empty((p, 2))
_core.side_by_side([*np.ascontiguousarray(X.T)], found["side_by_side"], ranges)
found["ranges"] = ranges
rule = _core.Rule(True, True, np.linspace(-4, 4, 11), np.full(11, -1.0))
maps = {"gaussian": _core.gaussian(), "cauchy": _core.cauchy(True)}
for code in ("binomial_logit", "binomial_cloglog", "binomial_probit", "poisson_log"):
    for trials in (1, 4):
        a = rng.binomial(trials, 0.4, n).astype(float)
        b = np.ones(n) if code == "poisson_log" else trials - a
        problem = _core.Problem(np.r_[0, np.cumsum(sizes)], X, a, b, rng.normal(size=n), np.full(m, trials / 2), code)
        def keep(kind, q, function, *arguments):
            score, hessian = np.zeros(q), np.zeros((q, q))
            value = function(problem, *arguments, score, hessian)
            found[f"{kind} {code} {trials}"] = np.concatenate([[value], score, hessian.ravel()])
        beta = np.array([0.3, -0.2, 0.5])
        for name, map in maps.items():
            keep(name, 4, _core.marginal, map, rule, np.append(beta, 0.8), 2, None, np.zeros(m))
        keep("pooled", 3, _core.pooled, beta, 2)
        keep("profile", 3, _core.profile, beta, 2, np.full(m, np.nan))
        if code == "binomial_logit":
            keep("conditional", 3, _core.conditional, beta, 2, np.full(m, np.nan))
            problem = _core.Problem(np.r_[0, np.cumsum(sizes)], X, 100 * a, 100 * b, np.zeros(n), np.ones(m), code)
            keep("conditional on many", 3, _core.conditional, beta, 2, np.full(m, np.nan))
print(json.dumps({"generation": _core.generation, **{name: values.tolist() for name, values in found.items()}}))
"""


def run(**environment: str) -> dict:
    others = {name: value for name, value in os.environ.items() if name != "CLUSTERGLM_BASELINE"}
    result = subprocess.run(
        [sys.executable, "-c", EVALUATE], env=others | environment, check=True, capture_output=True, text=True
    )
    return json.loads(result.stdout)


def needs(tool: str) -> str:
    return shutil.which(tool) or pytest.skip(f"{tool} is not installed")


@pytest.mark.skipif(sys.platform != "linux", reason="tells by /proc/cpuinfo")
def test_the_processor_is_known():
    flags = set(re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    assert run()["generation"] == ("x86-64-v3" if flags >= V3 else "baseline")


def test_every_generation_has_the_same_numbers():
    first, second = run(), run(CLUSTERGLM_BASELINE="1")
    assert second.pop("generation") == "baseline"
    if first.pop("generation") == "baseline":
        pytest.skip("this processor has one generation only")
    assert first.keys() == second.keys()
    for name, values in first.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(second[name], values, rtol=1e-13, atol=1e-13 * scale, err_msg=name)


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.split(".")[0])
def test_nothing_of_a_module_is_linked_into_another(module):
    """Inline functions are weak symbols, of which a loader keeps one: that of a later generation would crash."""
    lines = subprocess.run(
        [needs("nm"), "-D", "--defined-only", module], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == [f"PyInit_{module.name.split('.')[0]}"]


def test_the_baseline_has_no_later_instructions():
    """Instructions of AVX and after have names that begin with a v, but for a few on integers."""
    if run()["generation"] == "baseline":
        pytest.skip("this machine is not an x86 with several generations")
    later = re.compile(r"\t(v[a-z]+[ps][ds]|vz\w+|vmov\w+|andn|bextr|mulx|sarx|shlx|shrx|lzcnt|movbe|rorx)\s")
    found = {}
    for module in MODULES:
        text = subprocess.run(
            [needs("objdump"), "-d", "--no-show-raw-insn", module], check=True, capture_output=True, text=True
        )
        found[module.name.split(".")[0]] = len(later.findall(text.stdout))
    assert found["_core"] == 0
    assert found["_core_v3"] > 1000
