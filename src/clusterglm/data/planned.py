"""Data that are planned: clusters, rows in them, and covariates whose values are dealt out or drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import DataError, OptionError, nearest
from clusterglm.model.arguments import generator, is_whole, mapping, number, several, shown, whole_number, yes_or_no

if TYPE_CHECKING:
    import pandas as pd

_DRAWN = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*")
_LAWS = {"normal": (0.0, 1.0), "uniform": (0.0, 1.0), "bernoulli": (0.5,)}
_MOST_ROWS = 10**7
_DRAWN_IN_WORDS = "'normal(mean, sd)', 'uniform(low, high)' or 'bernoulli(p)'"

_Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Dealt:
    """Values that are dealt out one after the other.

    Parameters
    ----------
    values : tuple
        Those that there are, in their order.
    pattern : tuple of int
        Their numbers as they are dealt, each as often as its share says.
    """

    values: tuple[Any, ...]
    pattern: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """Values that are drawn.

    Parameters
    ----------
    law : {"normal", "uniform", "bernoulli"}
    arguments : tuple of float
        Mean and standard deviation; ends; probability.
    """

    law: str
    arguments: tuple[float, ...]

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[Any]:
        """n values."""
        if self.law == "bernoulli":
            return (rng.random(n) < self.arguments[0]).astype(np.int64)
        first, second = self.arguments
        return rng.normal(first, second, n) if self.law == "normal" else rng.uniform(first, second, n)


Values = Dealt | Drawn


@dataclass(frozen=True)
class StudyDesign:
    """A planned study: how many clusters of how many rows, and what covariates they have; see `design`.

    Parameters
    ----------
    clusters : int
    size : int
        Rows of each innermost cell: a cluster, or a level of what is nested in it or crosses it.
    cluster : str
    nested, crossed : tuple of (str, int)
        Grouping factors nested in the clusters (levels in each level of the one before), and factors all of whose
        levels occur in each of these.
    between : tuple of (str, values, str)
        Covariates, their values, and the grouping factor within whose levels they are constant.
    within : tuple of (str, values)
    randomise : bool
    """

    clusters: int
    size: int
    cluster: str
    nested: tuple[tuple[str, int], ...]
    crossed: tuple[tuple[str, int], ...]
    between: tuple[tuple[str, Values, str], ...]
    within: tuple[tuple[str, Values], ...]
    randomise: bool

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return math.prod(self._shape)

    @property
    def random(self) -> bool:
        """Whether two frames of this design differ."""
        values = [each for _, each, _ in self.between] + [each for _, each in self.within]
        return self.randomise or any(isinstance(each, Drawn) for each in values)

    def resized(self, clusters: int | None = None, size: int | None = None) -> StudyDesign:
        """The design with other numbers of clusters, or of rows in each.

        Raises
        ------
        OptionError
            When covariates have more values than there is room for.
        """
        made = replace(
            self,
            clusters=self.clusters if clusters is None else whole_number("clusters", clusters, 2),
            size=self.size if size is None else whole_number("size", size, 1),
        )
        made._check()
        return made

    def frame(self, seed: Any = None) -> pd.DataFrame:
        """The rows.

        Parameters
        ----------
        seed : int, SeedSequence or Generator, optional
            Of what is randomised or drawn.

        Returns
        -------
        DataFrame
            The grouping factors, labelled from 1 (levels of nested factors over all clusters), and the covariates;
            those of text are categoricals whose levels are in the order that was given.
        """
        import pandas as pd

        rng, places = generator(seed), np.indices(self._shape).reshape(len(self._shape), -1)
        groups = self._groups(places)
        columns: dict[str, Any] = {name: codes + 1 for name, (codes, _) in groups.items()}
        for name in groups:
            own = {column: values for column, values, level in self.between if level == name}
            codes, count = groups[name]
            order = rng.permutation(count) if self.randomise else np.arange(count)
            found = _values(own, order, rng)
            columns |= {column: _taken(values, codes) for column, values in found.items()}
        n = places.shape[1]
        inside = np.tile(np.arange(self.size), n // self.size)
        if self.randomise:
            inside = np.argsort(rng.random((n // self.size, self.size)), axis=1).ravel()
        columns |= _values(dict(self.within), inside, rng)
        return pd.DataFrame({name: columns[name] for name in self._order})

    @property
    def _order(self) -> list[str]:
        groups = [self.cluster, *(name for name, _ in (*self.nested, *self.crossed))]
        return [*groups, *(name for name, _, _ in self.between), *(name for name, _ in self.within)]

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.clusters, *(count for _, count in (*self.nested, *self.crossed)), self.size)

    def _groups(self, places: _Codes) -> dict[str, tuple[_Codes, int]]:
        """Each row's level of each grouping factor, and how many there are."""
        codes, count = places[0], self.clusters
        found = {self.cluster: (codes, count)}
        for k, (name, each) in enumerate(self.nested, start=1):
            codes, count = codes * each + places[k], count * each
            found[name] = codes, count
        for k, (name, each) in enumerate(self.crossed, start=1 + len(self.nested)):
            found[name] = places[k], each
        return found

    def _check(self) -> None:
        """Raise `OptionError` where values have no room, or rows are too many."""
        if self.n_rows > _MOST_ROWS:
            raise OptionError(f"a design of {self.n_rows:,} rows", f"at most {_MOST_ROWS:,}", "fewer clusters")
        room = {self.cluster: self.clusters} | dict(self.crossed)
        count = self.clusters
        for name, each in self.nested:
            count *= each
            room[name] = count
        for name in room:
            self._refuse_without_room([v for _, v, level in self.between if level == name], room[name], name)
        self._refuse_without_room([values for _, values in self.within], self.size, None)

    def _refuse_without_room(self, values: Sequence[Values], room: int, level: str | None) -> None:
        needed = math.prod(len(each.pattern) for each in values if isinstance(each, Dealt))
        if needed > room:
            what = f"{room} rows in each" if level is None else f"{room} levels of {level!r}"
            argument = "size=" if level is None else "clusters="
            raise OptionError(
                f"{what}, over which {needed} combinations of values are to be dealt out",
                f"room for each at least once: {needed} or more",
                f"{argument}{needed}, or fewer values",
            )

    def __repr__(self) -> str:
        parts = [f"{self.clusters} clusters {self.cluster!r}"]
        parts += [f"{count} of {name!r} in each" for name, count in self.nested]
        parts += [f"all {count} of {name!r}" for name, count in self.crossed]
        parts.append(f"{self.size} row{'s' * (self.size > 1)} of each")
        return f"StudyDesign: {', '.join(parts)} ({self.n_rows:,} rows); columns {', '.join(self._order)}"


def design(
    clusters: int,
    size: int | None = None,
    *,
    cluster: str = "id",
    nested: Mapping[str, int] | None = None,
    crossed: Mapping[str, int] | None = None,
    between: Mapping[str, Any] | None = None,
    within: Mapping[str, Any] | None = None,
    level: Mapping[str, str] | None = None,
    randomise: bool = False,
) -> StudyDesign:
    """Plan a study, for `cg.simulate` and `cg.power`.

    Parameters
    ----------
    clusters : int
        Number of clusters, such as persons or schools.
    size : int, optional
        Rows of each cluster, or of each level of what is nested in it or crosses it; by default as many as `within` has
        values.
    cluster : str
        Name of the clusters' column.
    nested : mapping of str to int, optional
        Factors nested in the clusters, from the top down, and how many levels of each one there are in one level of
        that above: `{"class": 4}` in schools.
    crossed : mapping of str to int, optional
        Factors that cross the clusters, and their levels, each of which occurs in every cluster: `{"item": 10}`.
    between : mapping, optional
        Covariates that are constant in clusters. Their values: a list, dealt out in turn, such as
        `["placebo", "drug"]`; a mapping of values to shares, `{"placebo": 2, "drug": 1}`; or text that says from where
        they are drawn: "normal(50, 10)" (mean, sd), "uniform(0, 1)", "bernoulli(0.3)". Of several lists every
        combination occurs.
    within : mapping, optional
        Covariates that vary in clusters, likewise: `{"week": range(5)}`.
    level : mapping of str to str, optional
        The grouping factor within whose levels a covariate of `between` is constant, where this is not the clusters':
        `{"method": "class"}`.
    randomise : bool
        Deal values out at random, in the same numbers, and anew in every data set.

    Returns
    -------
    StudyDesign
        `frame(seed)` has the rows.

    Raises
    ------
    OptionError
        On what cannot be planned so.

    Examples
    --------
    >>> import clusterglm as cg
    >>> plan = cg.design(40, between={"trt": ["placebo", "drug"]}, within={"week": range(5)})
    >>> plan
    StudyDesign: 40 clusters 'id', 5 rows of each (200 rows); columns id, trt, week
    >>> plan.frame().groupby("trt", observed=True)["id"].nunique().to_list()
    [20, 20]
    """
    of_nested = _counts("nested", nested)
    of_crossed = _counts("crossed", crossed)
    groups = dict.fromkeys([cluster, *of_nested, *of_crossed])
    levels = mapping("level", level)
    outer, inner = mapping("between", between), mapping("within", within)
    names = [cluster, *of_nested, *of_crossed, *outer, *inner]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise OptionError(f"{twice[0]!r} twice in a design", "columns of different names", "rename one of them")
    for name, group in levels.items():
        if name not in outer or group not in groups:
            known, given = (outer, name) if name not in outer else (groups, group)
            raise OptionError(
                f"level={{{name!r}: {group!r}}}",
                f"a covariate of between= and one of the grouping factors {', '.join(map(repr, groups))}",
                nearest(str(given), known) + "level={'method': 'class'}",
            )
    of_within = tuple((name, _read_values(name, values)) for name, values in inner.items())
    usual = math.prod(len(values.pattern) for _, values in of_within if isinstance(values, Dealt))
    made = StudyDesign(
        whole_number("clusters", clusters, 2),
        usual if size is None else whole_number("size", size, 1),
        cluster,
        tuple(of_nested.items()),
        tuple(of_crossed.items()),
        tuple((name, _read_values(name, values), levels.get(name, cluster)) for name, values in outer.items()),
        of_within,
        yes_or_no("randomise", randomise),
    )
    made._check()
    return made


def is_planned(data: object) -> bool:
    """Whether these are rows that are planned, not rows that are there."""
    return isinstance(data, StudyDesign)


def _counts(argument: str, given: Any) -> dict[str, int]:
    found = mapping(argument, given)
    return {name: whole_number(f"{argument}={{{name!r}: ...}}", count, 2) for name, count in found.items()}


def _read_values(name: str, given: Any) -> Values:
    """A list, shares, or words."""
    if isinstance(given, str):
        return _read_drawn(name, given)
    shares: list[int] = []
    if isinstance(given, Mapping):
        values = list(given)
        for value, share in given.items():
            if not is_whole(share) or not 1 <= share <= 1000:
                raise OptionError(
                    f"a share of {shown(share)} of {value!r} in {name!r}", "a whole number from 1", "{'a': 2, 'b': 1}"
                )
            shares.append(int(share))
    else:
        values = several(name, given, f"values, shares, or {_DRAWN_IN_WORDS}", f"{name!r}: ['a', 'b']", least=1)
        shares = [1] * len(values)
    plain = [each.item() if isinstance(each, np.generic) else each for each in values]
    bad = [each for each in plain if not isinstance(each, str | int | float | bool)]
    if bad or len(set(plain)) < len(plain):
        raise OptionError(f"{name}={shown(given)}", "different values, numbers or text", "{'placebo': 2, 'drug': 1}")
    if any(isinstance(each, str) for each in plain):
        plain = [str(each) for each in plain]
    return Dealt(tuple(plain), tuple(np.repeat(np.arange(len(plain)), shares).tolist()))


def _read_drawn(name: str, text: str) -> Drawn:
    match = _DRAWN.fullmatch(text)
    law = match[1] if match else ""
    if match is None or law not in _LAWS:
        raise OptionError(
            f"{name}={text!r}", f"values in a list, or {_DRAWN_IN_WORDS}", nearest(law, _LAWS) + "['placebo', 'drug']"
        )
    try:
        given = tuple(float(each) for each in match[2].split(",")) if match[2] else _LAWS[law]
    except ValueError:
        given = ()
    if len(given) != len(_LAWS[law]) or not np.isfinite(given).all():
        raise OptionError(f"{name}={text!r}", f"{len(_LAWS[law])} numbers in brackets", f"one of {_DRAWN_IN_WORDS}")
    if law == "normal":
        number(f"the standard deviation of {name!r}", given[1], 0.0, np.inf)
    if law == "uniform" and not given[0] < given[1]:
        raise OptionError(f"{name}={text!r}", "a lower end below the upper one", "'uniform(0, 1)'")
    if law == "bernoulli":
        number(f"the probability of {name!r}", given[0], 0.0, 1.0)
    return Drawn(law, given)


def _values(columns: Mapping[str, Values], order: _Codes, rng: np.random.Generator) -> dict[str, Any]:
    """Values of some covariates of units that are dealt to in some order, the first covariate varying fastest."""
    import pandas as pd

    found: dict[str, Any] = {}
    slower = 1
    for name, values in columns.items():
        if isinstance(values, Drawn):
            found[name] = values.draw(rng, len(order))
            continue
        pattern: _Codes = np.array(values.pattern, dtype=np.int64)
        codes = pattern[(order // slower) % len(pattern)]
        slower *= len(pattern)
        if isinstance(values.values[0], str):
            found[name] = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(values.values)))
        else:
            found[name] = np.array(values.values)[codes]
    return found


def _taken(values: Any, codes: _Codes) -> Any:
    return values.take(codes)


def systematic(count: int, wanted: int, rng: np.random.Generator) -> _Codes:
    """Some of `count` things in their order, all equally often but for one: every k-th from a random start.

    Parameters
    ----------
    count, wanted : int
    rng : numpy Generator
        Not asked where `wanted` is a multiple of `count`.

    Returns
    -------
    ndarray of int64, shape (wanted,)
        Ascending.
    """
    start = rng.random() if wanted % count else 0.5
    return np.minimum(((start + np.arange(wanted)) * (count / wanted)).astype(np.int64), count - 1)


def refuse_levels_lost(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `DataError` where a data set has other columns than the model: a level of a factor did not occur."""
    if tuple(names) != tuple(wanted):
        lost = [name for name in wanted if name not in names]
        raise DataError(
            f"a data set without {', '.join(lost) or 'some columns of the model'}", "every level", "larger clusters"
        )
