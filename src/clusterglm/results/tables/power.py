"""Power by simulation: the table, what is needed for a wanted power, and why replicates failed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError, check_option
from clusterglm.inference.hypotheses.power import PowerLine, power_line, share_interval
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arguments import number
from clusterglm.model.printing import fold
from clusterglm.results.tables.table import wrapped

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_FAILURES_SHOWN = 4
ALONG = {"clusters": "clusters", "size": "rows of each", "effect": "effect", "multiple": "multiple of the effect"}
"""What power may be a curve along, in words."""


@dataclass(frozen=True, repr=False, eq=False)
class Power:
    """What a simulation says of power; see `cg.power`.

    Parameters
    ----------
    replicates : DataFrame
        A row for each test of each data set: the factors of the design, `replicate`, `test`, `pvalue`, `estimate` (of
        tests of one combination of coefficients: left less right side), `null` (whether the hypothesis is true) and
        `failure`, why there is no p-value.
    factors : tuple of str
        What varied: "clusters", "size", "effect", "multiple".
    tests : tuple of str
    alpha : float
        Significance level.
    method : str
        Which tests.
    seed : int
        Gives the same numbers again.
    wanted : int
        Data sets asked for, in each cell.
    what : str
        The model and its assumed values, in words.
    interrupted : bool
        Stopped by the user; what was done counts.
    """

    replicates: pd.DataFrame
    factors: tuple[str, ...]
    tests: tuple[str, ...]
    alpha: float
    method: str
    seed: int
    wanted: int
    what: str
    interrupted: bool = False

    def at_level(self, alpha: float) -> Power:
        """The same data sets at another significance level.

        Parameters
        ----------
        alpha : float
            From 0.0001 to 0.5.
        """
        return replace(self, alpha=number("alpha", alpha, 1e-4, 0.5, advice="alpha=0.05"))

    @with_alpha
    def to_frame(self, *, level: float = 0.95) -> pd.DataFrame:
        """The table.

        Parameters
        ----------
        level : float
            Coverage of the Monte Carlo intervals.

        Returns
        -------
        DataFrame
            A row for each cell and test: the factors, `test`, `what` ("power", or "type I error" where the hypothesis
            is true), `replicates`, `failed`, `rejected`, `power` (failures count as no rejections) with its exact
            interval `conf_low`, `conf_high`, `power_most` (failures count as rejections) and `mean_estimate` (over data
            sets that did not fail).
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        keys = [*self.factors, "test"]
        rows = self.replicates
        given = rows.assign(
            failed=rows["pvalue"].isna(), rejected=rows["pvalue"] <= self.alpha, order=np.arange(len(rows))
        )
        found = given.groupby(keys, sort=False).agg(
            null=("null", "first"), replicates=("pvalue", "size"), failed=("failed", "sum"),
            rejected=("rejected", "sum"), mean_estimate=("estimate", "mean"), order=("order", "min"),
        )  # fmt: skip
        found = found.sort_values("order").reset_index()
        k, n = found["rejected"].to_numpy(float), found["replicates"].to_numpy(float)
        low, high = share_interval(k, n, level)
        table = pd.DataFrame(
            {
                **{name: found[name] for name in keys},
                "what": np.where(found["null"].astype(bool), "type I error", "power"),
                "replicates": found["replicates"],
                "failed": found["failed"].astype(int),
                "rejected": found["rejected"].astype(int),
                "power": k / n,
                "conf_low": low,
                "conf_high": high,
                "power_most": (k + found["failed"].to_numpy(float)) / n,
                "mean_estimate": found["mean_estimate"],
            }
        )
        return shown(table)

    @property
    def failures(self) -> pd.DataFrame:
        """Why data sets gave no p-value.

        Returns
        -------
        DataFrame
            The factors, `test`, `reason` (numbers in it are left out) and `count`, the most frequent first.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        keys = [*self.factors, "test"]
        lost = self.replicates[self.replicates["pvalue"].isna()]
        reasons = [_NUMBERS.sub("…", str(each)) for each in lost["failure"]]
        counts = Counter(zip(*(lost[name] for name in keys), reasons, strict=True))
        rows = [(*key, count) for key, count in counts.most_common()]
        return shown(pd.DataFrame(rows, columns=[*keys, "reason", "count"]))

    @with_alpha
    def needed(self, power: float = 0.8, *, along: str | None = None, level: float = 0.95) -> pd.DataFrame:
        """How many clusters, how many rows of each, or how large an effect gives a wanted power.

        Parameters
        ----------
        power : float
            From 0.05 to 0.999.
        along : "clusters", "size", "effect" or "multiple", optional
            By default the first of them that varies.
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            A row for each test and each combination of the other factors: these, `test`, `power` (the wanted one),
            `needed` (whole numbers are rounded up), `conf_low`, `conf_high` (for the Monte Carlo error), and `note`
            where an answer lies outside what was simulated, or there is none.

        Raises
        ------
        OptionError
            Where nothing varies along it.

        Notes
        -----
        Maximum likelihood of probit(power) = a + b x, where x is the root of the number of clusters or rows, or the
        size of the effect; intervals by Fieller's theorem. Cells in which the hypothesis is true do not count. Power
        along the rows of clusters levels off where the clusters' own spread dominates: a line that does not fit is
        noted.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        number("power", power, 0.05, 0.999, advice="power=0.8")
        check_level(level)
        chosen = self._along(along)
        others = [*(name for name in self.factors if name != chosen), "test"]
        table = pd.DataFrame(self.to_frame())
        rows = []
        for key, some in table[table["what"] == "power"].groupby(others, sort=False):
            x = some[chosen].to_numpy(float)
            turned = np.sqrt(x) if chosen in ("clusters", "size") else np.abs(x)
            line = power_line(turned, some["rejected"].to_numpy(float), some["replicates"].to_numpy(float))
            rows.append((*key, power, *_needed(line, power, level, counts=chosen in ("clusters", "size"))))
        found = pd.DataFrame(rows, columns=[*others, "power", "needed", "conf_low", "conf_high", "note"])
        numbers = ["needed", "conf_low", "conf_high"]
        if chosen in ("clusters", "size") and np.isfinite(found[numbers].to_numpy(float)).all():
            found[numbers] = found[numbers].astype(int)
        return shown(found if found["note"].any() else found.drop(columns="note"))

    @with_alpha
    def detectable(self, power: float = 0.8, *, level: float = 0.95) -> pd.DataFrame:
        """The smallest effect that is found with a wanted power; see `needed`, along the effect.

        Parameters
        ----------
        power, level : float
        """
        if "effect" not in self.factors and "multiple" not in self.factors:
            raise OptionError(
                "the smallest effect that is found, where effects did not vary",
                "effect= or multiple= of several values in cg.power",
                "multiple=[0.5, 1.0, 1.5]",
            )
        return self.needed(power, along="effect" if "effect" in self.factors else "multiple", level=level)

    def _along(self, along: str | None) -> str:
        varied = [name for name in self.factors if self.replicates[name].nunique() > 1]
        if not varied:
            raise OptionError(
                "a curve through one point",
                "several values of clusters=, size=, effect= or multiple=",
                "clusters=[20, 40]",
            )
        return varied[0] if along is None else check_option("along", along, varied)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what was asked, the table, what is needed for a power of 0.8 and why data sets failed."""
        about = {
            "what": self.what, "method": self.method, "alpha": self.alpha, "seed": self.seed, "wanted": self.wanted,
            "interrupted": self.interrupted,
        }  # fmt: skip
        found: Mapping[str, Any] = {"table": self.to_frame().to_dict(orient="records")}
        varies = any(self.replicates[name].nunique() > 1 for name in self.factors)
        needed = {"needed": self.needed().to_dict(orient="records")} if varies else {}
        return {**about, **found, **needed, "failures": self.failures.to_dict(orient="records")}

    def __str__(self) -> str:
        table = self.to_frame()
        lost = ["power_most"] if not table["failed"].any() else []
        same = ["what"] if (table["what"] == "power").all() else []
        gone = ["mean_estimate"] if table["mean_estimate"].isna().all() else []
        lines = [
            *wrapped(f"Power by simulation: {self.what}", "", "  "),
            f"{_METHODS[self.method]} at alpha = {self.alpha:g}, {self.wanted:,} data sets a row, seed {self.seed}",
            "",
            repr(type(table)(table.drop(columns=[*lost, *same, *gone]))),
        ]
        done = table["replicates"].min() if len(table) else 0
        if self.interrupted:
            lines.append(f"interrupted: only the data sets that were done count, {done:,} or more in each row")
        reasons: Counter[str] = Counter()
        for each in self.failures.itertuples():
            reasons[str(each.reason)] += int(str(each.count))
        lines += [f"{count} failed: {reason}" for reason, count in reasons.most_common(_FAILURES_SHOWN)]
        if reasons:
            lines.append("failures count as no rejections in power and its interval, as rejections in power_most")
        return fold("\n".join(lines))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.to_frame()._repr_html_()  # type: ignore[operator]  # of an EstimateFrame
        return f"<p>Power by simulation: {self.what}; {_METHODS[self.method]} at alpha = {self.alpha:g}</p>{table}"


_METHODS = {
    "wald": "Wald tests",
    "t": "Wald tests by t and F distributions",
    "lr": "likelihood-ratio tests",
}


def _needed(line: PowerLine | None, power: float, level: float, *, counts: bool) -> tuple[float, float, float, str]:
    """What is needed, its interval, and a note."""
    nothing = (float("nan"),) * 3
    if line is None:
        return (*nothing, "no line: powers of 0 and 1 alone, or one point")
    if line.b <= 0.0:
        return (*nothing, "power does not rise")
    at, (low, high) = line.at(power), line.interval(power, level)
    notes = []
    if not line.low <= at <= line.high:
        notes.append("outside what was simulated")
    if line.misfit_pvalue < 0.01:
        notes.append(f"the line does not fit (p = {line.misfit_pvalue:.2g}): simulate nearer to the answer")
    at, low = max(at, 0.0), max(low, 0.0)
    if counts:
        at, low, high = float(np.ceil(at**2 - 1e-9)), float(np.floor(low**2)), float(np.ceil(high**2))
    return at, low, high, "; ".join(notes)
