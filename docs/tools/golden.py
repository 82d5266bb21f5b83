"""What other programs, and exact integration, say of the golden data: printed for the pages."""

from __future__ import annotations

import json
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import clusterglm as cg

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from accuracy import frame  # noqa: E402

__all__ = ["exact_fits", "frame", "read", "several_effects", "show", "worst_of_exact"]


@cache
def read(name: str) -> Any:
    """A file of golden values."""
    return json.loads((ROOT / "tests" / "golden" / name).read_text())


def show(dataset: str, fit: str, file: str = "r.json") -> None:
    """Print another program's fit: its call, with the cluster's own name, and what it estimated."""
    known = read(file)[dataset]
    found = known["fits"][fit]
    call = " ".join(found["call"].replace(".cl", known["cluster"]).split()).replace("d = d", "data = d")
    print("\n    ".join(textwrap.wrap(call, 72, break_long_words=False)) + "\n")
    for term, estimate in found["coef"].items():
        if not term.startswith(known["cluster"]) and not term.startswith(".cl"):
            print(f"{term:20s}{estimate:10.4f}{found['se'][term]:10.4f}")
    if found.get("sigma") is not None:
        print(f"{'sigma':20s}{found['sigma']:10.4f}")
    for effect, sd in found.get("sd", {}).items():
        print(f"{f'sd({effect})':20s}{sd:10.4f}")
    if found.get("cor") is not None:
        print(f"{'correlation':20s}{found['cor']:10.4f}")
    if found.get("logLik") is not None:
        print(f"{'log-likelihood':20s}{found['logLik']:10.4f}")


def exact_fits() -> pd.DataFrame:
    """Each maximum of exact.json, and how far a fit is from it: in log-likelihood, and at most in standard errors."""
    rows = {}
    for name, want in read("exact.json").items():
        options = {key: want[key] for key in ("cluster", "family", "link")} | {"distribution": want["prior"]}
        fit = cg.random_effects(want["formula"], frame(want["dataset"]), **options)
        found = np.append(fit.params[list(want["coef"])], fit.sigma)
        exact = np.append(list(want["coef"].values()), want["sigma"])
        difference = float(np.max(np.abs(found - exact) / np.array(want["se"])))
        rows[name.replace("_", " ")] = (
            want["logLik"],
            abs(fit.loglik - want["logLik"]),
            difference,
        )
    return pd.DataFrame.from_dict(rows, orient="index", columns=["exact", "error", "in_se"])


def several_effects() -> pd.DataFrame:
    """Maxima of several_effects.json whose data are kept, and how far fits are from them; toenail to 0.1 only."""
    rows = {}
    for name, want in read("several_effects.json").items():
        file = ROOT / "tests" / "golden" / "data" / f"{name.partition('_')[0]}.csv"
        if file.exists():
            data = pd.read_csv(file)
            if "contraception" in name:
                data = data.assign(age10=data["age"] / 10.0, urbanY=(data["urban"] == "Y").astype(float))
            if "respiratory" in name:
                data = data.assign(centre=data["centre"].astype(str))
            rule = cg.Quadrature("auto", tolerance=0.1 if "toenail" in name else 1e-6)
            family = "poisson" if "poisson" in name else "binomial"
            fit = cg.random_effects(want["formula"], data, family=family, quadrature=rule)
            names = list(fit.params.index)
            away = np.abs(fit.params - [want["parameters"][each] for each in names])
            in_se = float((away / [want["se"][each] for each in names]).max())
            rows[name.replace("_", " ")] = want["logLik"], abs(fit.loglik - want["logLik"]), fit.quadrature.error, in_se
    return pd.DataFrame.from_dict(rows, orient="index", columns=["exact", "error", "reported", "in_se"])


def worst_of_exact() -> dict[str, float]:
    """The largest differences of all."""
    table = exact_fits()
    return {
        "log-likelihood": float(table["error"].max()),
        "parameters": float(table["in_se"].max()),
    }
