"""What starting costs: whole processes in turn, medians and their ratios.

python benchmarks/startup.py [--turns 9]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable

import record

COMMANDS = {
    "import clusterglm": ["-c", "import clusterglm"],
    "import numpy": ["-c", "import numpy"],
    "clusterglm fit": ["-m", "clusterglm.cli", "fit", "bacteria", "y ~ trt + I(week > 2)", "--cluster", "ID"],
    "import formulaic": ["-c", "import formulaic"],
}


def processes(options: argparse.Namespace) -> Iterable[record.Figure]:
    runs = {
        name: lambda command=command: subprocess.run([sys.executable, *command], check=True, capture_output=True)
        for name, command in COMMANDS.items()
    }
    seconds = record.in_turns(runs, options.turns)
    for name, values in seconds.items():
        yield record.timed(name, f"{name}, whole process", values)
    for one, two in (("import clusterglm", "import numpy"), ("clusterglm fit", "import formulaic")):
        yield record.ratio(f"{one} / {two}", f"{one} / {two}", seconds[one], seconds[two], against=two, at_most=1.3)


if __name__ == "__main__":
    record.run("startup", __doc__, {"processes": processes}, packages=("formulaic",), turns=9)
