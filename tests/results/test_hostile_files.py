"""Files that are damaged, hostile or old: a result that works, or `FileError`, and nothing is ever run."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.tables.table import read_table
from clusterglm.errors import ClusterGLMError, ClusterGLMWarning, DataError, FileError, FormulaError, StorageError
from clusterglm.results.files import storage


@pytest.fixture(scope="module")
def pooled(golden_frame: Any) -> Any:
    return cg.pooled("yy ~ trt + late", golden_frame("bacteria"))


@pytest.fixture(scope="module")
def frame(golden_frame: Any) -> pd.DataFrame:
    d: pd.DataFrame = golden_frame("bacteria").copy()
    d["z"] = np.random.default_rng(1).gamma(2.0, size=len(d))
    return d


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """Content with a digest that fits it, as whoever wants to harm would write it."""
    return content | {"digest": storage._digest(content["result"])}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"@": "PooledFit"', '"@": "Popen"', "'Popen' is not known"),
        ('"@": "PooledFit"', '"@": "PooledFit", "later": 1', "later"),
        ('"loglik"', '"logliks"', "loglik, logliks"),
        ('"shape": [4]', '"shape": [5]', "ValueError"),
        ('"@": "array"', '"@": "same", "as": 9', "KeyError"),
        ('"shape": [4]', '"shape": [100000000000]', "an array of shape"),
        ('"dtype": "float64"', '"dtype": "U9999999"', "an array of shape|ValueError|is no"),
        ('"dtype": "float64"', '"dtype": "V8"', "an array of type 'V8'"),
        ('"loglik": ', '"loglik": "", "x": ', "x"),
        ('"converged"', "7", "status of Optimization is no str"),
        ('"intercept": 0', '"intercept": 40', "intercept 40"),
        ('"intercept": 0', '"intercept": null', "intercept None"),
    ],
)
def test_damaged_files_are_refused(old: str, new: str, message: str, pooled: Any, tmp_path: Path) -> None:
    """Whether or not the damage is one that a digest gives away."""
    path = tmp_path / "fit.json"
    pooled.save(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FileError, match="its digest differs"):
        cg.load(path)
    path.write_text(json.dumps(with_digest(json.loads(path.read_text()))))
    with pytest.raises(FileError, match=message):
        cg.load(path)


def test_files_that_ask_for_too_much(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    path.write_text('{"a":' * 100_000)
    with pytest.raises(FileError, match="not complete JSON"):
        cg.load(path)
    deep: Any = 1
    for _ in range(90):
        deep = [deep]
    content = {"format": storage.FORMAT, "format_version": 2, "result": deep}
    path.write_text(json.dumps(with_digest(content)))
    with pytest.raises(FileError, match="more than 60 values inside each other"):
        cg.load(path)
    path.write_bytes(gzip.compress(b" " * 210_000_000, 9))
    with pytest.raises(FileError, match=r"packed bytes are more than [\d,]+ unpacked"):
        cg.load(path)
    for odd in (tmp_path, "", "a\0b", 3, None):
        with pytest.raises(FileError, match="cannot be read"):
            cg.load(odd)  # type: ignore[arg-type]


EVIL = [
    "__import__('os').system('true')", "open('x')", "late.__class__", "np.save('x', late)", "late.to_pickle('x')",
    "(lambda: 1)()", "[x for x in late]", "np.f2py", "late.pipe(print)", "eval('1')", "np", "np.lib.npyio", "exec",
    "late.map(print)", "np['save']", "(late if 1 else open)('x')", "'\\'`' * 0 == open('x') #`'#'", "f'{open}'",
    "().__class__.__base__.__subclasses__()", "late.astype(open)", "np.vectorize(open)(late)", "late @ late",
]  # fmt: skip


@pytest.mark.parametrize("expression", EVIL)
def test_nothing_in_a_file_is_run(expression: str, frame: pd.DataFrame, tmp_path: Path, watched: list[str]) -> None:
    """Put where a file has expressions: terms, offsets, means of clusters, the formula; in either format."""
    path = tmp_path / "fit.json"
    fit = cg.random_effects(
        "yy ~ I(late + 1) + within(log(z)) + offset(log(z))", frame, cluster="ID", sigma=1.0, fix_sigma=True
    )
    fit.save(path)
    content = json.loads(path.read_text())
    older = json.loads(gzip.decompress((STORED / "means.json.gz").read_bytes()))
    swaps = [
        (content, "I(`late` + 1)"), (content, "log(`z`)"), (content, fit.data.formula), (older, "trt"),
        (older, "log ( _column0 )"), (older, "log(z)"), (older, "yy ~ within(log(z)) + between(log(z)) + trt"),
    ]  # fmt: skip
    for tree, text in swaps:
        for swapped in (everywhere(tree, text, expression), everywhere(tree, text, f"{expression} ~ late")):
            if swapped == tree:
                continue
            path.write_text(json.dumps(with_digest(swapped)))
            del watched[:]
            try:
                again = cg.load(path)
                again.predict(frame.head(3))
                again.predict(frame.head(3).assign(ID="new"), "conditional", history=frame.head(3).assign(ID="new"))
            except (StorageError, DataError):
                pass
            assert [event for event in watched if str(path) not in event] == []


@pytest.fixture
def watched() -> list[str]:
    """What the interpreter was asked to open, run or import while a test ran."""
    seen: list[str] = []
    WATCHERS[:] = [seen]
    yield seen
    WATCHERS.clear()


WATCHERS: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHERS and event in ("open", "exec", "compile", "os.system", "subprocess.Popen", "os.remove", "os.rename"):
        shown = str(arguments)
        reading = event == "open" and "'r" in shown
        lazy_import = event in ("exec", "compile") and any(
            part in shown for part in ("site-packages", "src", "lib/python")
        )
        if not reading and not lazy_import and "__pycache__" not in shown and "<string>" not in shown:
            WATCHERS[0].append(f"{event} {shown}")


sys.addaudithook(_watch)


def everywhere(tree: Any, old: str, new: str) -> Any:
    """The tree with a text in place of another one, as value or key."""
    if isinstance(tree, dict):
        return {new if key == old else key: everywhere(item, old, new) for key, item in tree.items()}
    if isinstance(tree, list):
        return [everywhere(item, old, new) for item in tree]
    return new if tree == old else tree


SMALL = pd.DataFrame(
    {
        "y": [0, 1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0], "x": [0.5, -1, 2, 0, 1, 3, -2, 1, 0.7, -0.2, 0.4, 2.5],
        "g": list("aabbccabbaca"), "id": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        "n": [1, 2, 0, 3, 1, 4, 2, 1, 5, 2, 1, 3],
    }
)  # fmt: skip
MODELS = {
    "pooled": lambda: cg.pooled("n ~ bs(x, df=3)", SMALL, family="poisson"),
    "random": lambda: cg.random_effects(
        "y ~ x + C(g) + offset(x / 9)", SMALL, cluster="id", sigma=0.5, fix_sigma=True, quadrature=3
    ),
    "means": lambda: cg.random_effects(
        "y ~ within(x) + scale(x)", SMALL, cluster="id", sigma=0.5, fix_sigma=True, quadrature=3
    ),
    "slopes": lambda: cg.random_effects("n ~ x + (x || id)", SMALL, family="poisson", quadrature=3),
    "fixed": lambda: cg.fixed_effects("n ~ x:g", SMALL, cluster="id", family="poisson"),
    "limit": lambda: cg.pooled(
        "y ~ x + I(g == 'c')", SMALL.assign(y=SMALL.y.where(SMALL.g != "c", 1)), separation="limit"
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", [0, 1])
def test_mutations(name: str, start: int, tmp_path: Path, watched: list[str]) -> None:
    """Of one value, key or place of a file, its digest put right: a result that works, or `FileError`; 6,000 in all.

    A number that is changed to another number is another fit, and no schema can tell; but what a fit does not do, such
    as to raise another error, or to touch another file, none of them does.
    """
    rng = np.random.default_rng([start, *name.encode()])
    path = tmp_path / "fit.json"
    MODELS[name]().save(path)
    content = json.loads(path.read_text())
    places = list(_places(content["result"], ()))
    refused = 0
    for _ in range(500):
        mutant = copy.deepcopy(content)
        _mutate(mutant["result"], places[rng.integers(len(places))], rng)
        path.write_text(json.dumps(with_digest(mutant)))
        del watched[:]
        try:
            again = cg.load(path)
            str(again)
        except FileError:
            refused += 1
        else:
            with contextlib.suppress(ClusterGLMError, ClusterGLMWarning):
                again.predict(SMALL)
        assert [event for event in watched if str(path) not in event] == []
    assert 120 < refused < 500


def test_a_spline_of_other_columns_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    MODELS["pooled"]().save(path)
    content = json.loads(path.read_text())
    content["result"]["data"]["design"]["memory"]["bs(x, df=3)"]["include_intercept"] = True
    path.write_text(json.dumps(with_digest(content)))
    with pytest.raises(DataError, match="4 columns, of a fit with 3"):
        cg.load(path).predict(SMALL)


@pytest.mark.parametrize("changed", [{"penalty": "ridge"}, {"penalty": None}, {"penalized_loglik": None}])
def test_penalties_that_are_none(changed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    cg.pooled("y ~ x", SMALL, penalty="firth").save(path)
    content = json.loads(path.read_text())
    content["result"]["fit"] |= changed
    path.write_text(json.dumps(with_digest(content)))
    with pytest.raises(FileError, match="penalty"):
        cg.load(path)


def _places(tree: Any, at: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in entries:
        yield (*at, key)
        yield from _places(item, (*at, key))


ODD: list[Any] = [
    None, True, -1, 0, 3, 10**12, 2.5, 1e308, "", "x", "nan", [], [1], {}, {"@": "tuple"}, {"@": "same", "as": 1},
    {"@": "Popen"}, {"@": "array", "dtype": "float64", "shape": [10**11], "all": 0.0}, "open('x')", [[[]]],
    {"@": "expression", "text": "`x`.to_csv('a')"}, {"@": "function"}, {"@": "scalar", "dtype": "object", "values": 1},
]  # fmt: skip


def _mutate(tree: Any, place: tuple[Any, ...], rng: np.random.Generator) -> None:
    for key in place[:-1]:
        tree = tree[key]
    key, kind = place[-1], rng.integers(4)
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree[f"{key}_"] = tree.pop(key)
    elif kind == 2 and isinstance(tree, list):
        tree.insert(key, copy.deepcopy(tree[key]))
    else:
        tree[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])


STORED = Path(__file__).parents[1] / "golden" / "stored"


@pytest.mark.parametrize("path", sorted(STORED.glob("*.json.gz")), ids=lambda path: path.name)
def test_files_of_format_1_open_as_before(path: Path, tmp_path: Path) -> None:
    """Written by version 0.1 before formulas were read by this package; what they print stands in them."""
    again = cg.load(path)
    content = json.loads(gzip.decompress(path.read_bytes()))
    assert content["format_version"] == 1
    was = [
        line.replace("moves most is (Intercept),", "moves most is that of the intercept,")
        for line in content["summary"]
    ]
    assert str(again).splitlines() == was  # but for words that have changed since
    again.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == str(again)


def stored_frame() -> pd.DataFrame:
    """The rows that the files of format 1 were fitted to."""
    d = cg.datasets.load("bacteria").copy()
    rng = np.random.default_rng(1)
    d["z"], d["w"] = rng.gamma(2.0, size=len(d)), rng.integers(1, 4, len(d))
    d["yy"], d["late"] = (d.y == "y") * 1, (d.week > 2) * 1.0
    d["n"], d["s"], d["flag"], d["my col"] = 3, rng.binomial(3, 0.5, len(d)), d.week > 2, d.z + 1
    d["band"], d["k"] = pd.cut(d.z, [0, 1, 2, 50.0]), pd.Categorical(d.w)
    d["day"] = pd.to_datetime("2024-01-01") + pd.to_timedelta(d.week, unit="D")
    return d


@pytest.mark.parametrize("path", sorted(STORED.glob("[!fcns]*.json.gz")), ids=lambda path: path.name)
def test_files_of_format_1_build_the_same_designs(path: Path) -> None:
    again = cg.load(path)
    np.testing.assert_allclose(
        again.data.design.build(read_table(stored_frame())[again.data.row_index]), again.data.X, rtol=1e-12, atol=1e-13
    )


def test_functions_of_the_users_own(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    double = {"double": lambda x: 2.0 * x}
    fit = cg.pooled("yy ~ double(z) + trt", frame, functions=double)
    assert list(fit.params.index)[1] == "double(z)"
    assert fit.params["double(z)"] == pytest.approx(cg.pooled("yy ~ z + trt", frame).params["z"] / 2.0, rel=1e-9)
    fit.save(path)
    with pytest.raises(FileError, match=r"(?s)calls double\(\).*functions="):
        cg.load(path)
    again = cg.load(path, functions=double)
    pd.testing.assert_series_equal(again.predict(frame), fit.predict(frame))
    for functions, error in (
        ({"double": 3}, "of type int"), ({"two words": abs}, "a plain word"), ([], "a dict of names"),
        ({"log": abs}, "which formulas have already"),
    ):  # fmt: skip
        with pytest.raises(FormulaError, match=error):
            cg.pooled("yy ~ z", frame, functions=functions)  # type: ignore[arg-type]
    for bad, error in (
        (lambda x: x - x.mean(), "another value when fewer rows"), (lambda x: x[:3], "of shape"),
        (lambda x: 1 / 0, "cannot be computed"), (lambda x: "a", "of shape"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=error):
            cg.pooled("yy ~ f(z)", frame, functions={"f": bad})
