"""R's packages by `fits.R`, which times them itself: what starting R takes is not counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record

from peers.base import Answer, Peer, timed

SCRIPT = Path(__file__).with_name("fits.R")
LAPLACE, EIGHT = ("random_effects", {"quadrature": "laplace"}), ("random_effects", {"quadrature": 8})


def _peer(name: str, ours: tuple[str, dict[str, object]], se: str = "") -> Peer:
    def unused(_: pd.DataFrame) -> object:
        raise NotImplementedError

    return Peer(name, f"R package {name.partition(',')[0]}", unused, ours, se)  # type: ignore[arg-type]


PEERS = {
    peer.name: peer
    for peer in (
        _peer("lme4, Laplace", LAPLACE, "by differences"),
        _peer("lme4, 8 nodes", EIGHT, "by differences"),
        _peer("glmmTMB, Laplace", LAPLACE),
        _peer("glmmML, Laplace", LAPLACE),
        _peer("glmmML, 8 nodes", EIGHT),
        _peer("GLMMadaptive, 11 nodes", EIGHT),
        _peer("fixest, feglm", ("fixed_effects", {})),
        _peer("glmmML, glmmboot", ("fixed_effects", {})),
    )
}


def run(kind: str, data: pd.DataFrame, turns: int) -> tuple[list[dict[str, Any]], list[record.Missing]]:
    """What `fits.R` says of "random" or "fixed" effects, a dictionary for each fit, and what could not be run."""
    if shutil.which("Rscript") is None:
        return [], [record.Missing("R's lme4, glmmTMB, glmmML, GLMMadaptive, fixest", "R is not installed")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        data.to_csv(path, index=False)
        command = ["Rscript", "--vanilla", str(SCRIPT), str(path), str(turns), kind]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    missing = [
        record.Missing(f"R's {one['name']}", one.get("failed", "not installed")) for one in said if "seconds" not in one
    ]
    if ran.returncode != 0:
        missing.append(record.Missing("R", f"stopped: {ran.stderr.strip().splitlines()[-1]}"))
    return [one for one in said if "seconds" in one], missing


def figures(
    kind: str, data: pd.DataFrame, turns: int, measure: Callable[[], dict[str, list[float]]]
) -> list[record.Figure | record.Missing]:
    """Time and check what R has. `measure` times our fits: before and after R, which has a process of its own."""
    before = measure()
    said, missing = run(kind, data, turns)
    own = before if not said else {name: values + before[name] for name, values in measure().items()}
    found: list[record.Figure | record.Missing] = []
    for one in said:
        answer = Answer(np.array(one["estimates"], float), np.array(one["se"], float), one["sigma"])
        found += timed(PEERS[one["name"]], one["version"], one["seconds"], answer, data, own)
    return found + missing
