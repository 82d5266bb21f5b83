"""Long work in the core ends when the user wants it to, and what fails in one of its threads is a Python error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

INTERRUPTED = """
import json, os, signal, sys, threading, time
import numpy as np
from clusterglm import _core

kind, threads = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(1)
n, p, q = 400_000, 12, 13
X, beta = rng.normal(size=(2 * n, p)), np.full(p, 0.1)
trials, share = (3, 0.3) if kind == "marginal" else (1, 0.002 if kind == "inversion" else 0.0008)
a = rng.binomial(trials, share, 2 * n).astype(float)
code = "binomial_probit" if kind == "marginal" else "binomial_logit"
problem = _core.Problem(np.array([0, n, 2 * n]), X, a, trials - a, np.zeros(2 * n), np.ones(2), code)
rule = _core.Rule(True, True, np.linspace(-6, 6, 400), np.full(400, -1.0))

def work():
    if kind == "marginal":
        theta, out = np.append(beta, 0.5), (np.zeros(2), np.zeros(q), np.zeros((q, q)))
        _core.marginal(problem, _core.gaussian(), rule, theta, 0, None, *out, threads=threads)
    else:
        _core.conditional(problem, beta, 2, np.full(2, np.nan), np.zeros(p), np.zeros((p, p)), threads=threads)

sent = []
def interrupt():
    time.sleep(0.3)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=interrupt).start()
finished = False
try:
    work()
    finished = True
    time.sleep(10)
except KeyboardInterrupt:
    print(json.dumps({"finished": finished, "seconds": time.perf_counter() - sent[0]}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["marginal", "recursion", "inversion"])
def test_an_interrupt_is_heard_within_half_a_second(kind, threads):
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, kind, str(threads)], check=True, capture_output=True, text=True, timeout=120
    )
    found = json.loads(result.stdout)
    assert not found["finished"]
    assert found["seconds"] < 0.5


FEW_BYTES = """
import resource, sys
import numpy as np
from clusterglm import _core

nodes, threads, megabytes = (int(argument) for argument in sys.argv[1:])
rng = np.random.default_rng(1)
m, n = 2000, 60
X = rng.normal(size=(m * n, 1))
a = rng.binomial(1, 0.4, m * n).astype(float)
problem = _core.Problem(np.arange(0, m * n + 1, n), X, a, 1.0 - a, np.zeros(m * n), np.ones(m), "binomial_logit")
rule = _core.Rule(True, True, np.linspace(-6, 6, nodes), np.full(nodes, -1.0))

def value(threads):
    out = np.zeros(m), np.zeros(2), np.zeros((2, 2))
    return _core.marginal(problem, _core.gaussian(), rule, np.array([0.1, 0.5]), 2, None, *out, threads=threads)

one = value(1) if nodes < 100 else None
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
try:
    print(value(threads) == one)
except MemoryError:
    print("MemoryError")
"""


def with_few_bytes(nodes: int, threads: int, megabytes: int) -> str:
    arguments = [str(nodes), str(threads), str(megabytes)]
    result = subprocess.run([sys.executable, "-c", FEW_BYTES, *arguments], check=True, capture_output=True, text=True)
    return result.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("threads", [1, 2])
def test_no_memory_is_a_python_error(threads):
    assert with_few_bytes(4_000_000, threads, 300) == "MemoryError"


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_where_there_are_no_more_threads_fewer_do():
    """Each wants 8 MB for its stack."""
    assert with_few_bytes(10, 1024, 100) == "True"
