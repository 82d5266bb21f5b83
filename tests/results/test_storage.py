"""Results to files and back: the same numbers, the same designs, and clear refusals of everything else."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import sys
import warnings
from datetime import date, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

import clusterglm as cg
from clusterglm.errors import StorageError
from clusterglm.model.distribution import DISTRIBUTIONS
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.family import CONTINUOUS, RESPONSES, WITH_OWN
from clusterglm.results.files import storage
from clusterglm.results.files.values import Reader, Writer
from clusterglm.results.models import base
from clusterglm.results.models.base import Result


@pytest.fixture(scope="module")
def frame(golden_frame: Any) -> pd.DataFrame:
    """`bacteria` with columns of many types."""
    d: pd.DataFrame = golden_frame("bacteria").copy()
    rng = np.random.default_rng(1)
    d["z"], d["w"] = rng.gamma(2.0, size=len(d)), rng.integers(1, 4, len(d))
    d["n"], d["flag"], d["part"] = 3, d.week > 2, d.z > 0.7
    d["s"] = rng.binomial(3, 0.5, len(d))
    d["band"] = pd.cut(d.z, [0.0, 1.0, 2.0, 50.0])
    d["day"] = pd.to_datetime("2024-01-01") + pd.to_timedelta(d.week, unit="D")
    d["number"] = pd.factorize(d.ID)[0]
    d["my col"] = d.z + 1.0
    d["when"] = pd.to_datetime("2020-03-01") + pd.to_timedelta(d.number, unit="D")
    return d


RANDOM = {
    "plain": {"formula": "yy ~ trt + late"},
    "cauchy": {"formula": "yy ~ trt * late", "distribution": "cauchy"},
    "student": {"formula": "yy ~ z", "distribution": cg.StudentT(4.0), "quadrature": 9},
    "bridge": {"formula": "yy ~ z", "distribution": "bridge"},
    "estimated shape": {"formula": "yy ~ z", "distribution": "gaussian_mixture"},
    "density": {"formula": "yy ~ z", "distribution": "logistic", "quadrature": 5, "scale": "density"},
    "laplace": {"formula": "yy ~ 0 + trt", "quadrature": "laplace", "link": "probit"},
    "held": {"formula": "yy ~ late", "sigma": 0.7, "fix_sigma": True, "link": "cloglog"},
    "weights": {"formula": "yy ~ late + offset(log(z))", "weights": "w", "offset": "late", "subset": "part"},
    "array": {"formula": "yy ~ late", "offset": np.linspace(0.0, 1.0, 220)},
    "trials": {"formula": "cbind(s, n - s) ~ trt", "cluster": "number"},
    "counts": {"formula": "s ~ trt", "family": "poisson", "cluster": "when"},
    "means": {"formula": "yy ~ within(log(z)) + between(log(z))"},
    "words": {"formula": "y ~ week"},
}
TERMS = [
    "trt", "C(trt)", "C(w)", "C(trt, contr.sum)", "C(trt, contr.poly)", "C(trt, contr.helmert)", "trt:z",
    "C(trt, contr.treatment('drug')) * z", "center(z)", "scale(z)", "poly(z, 3)", "bs(z, df=5)", "bs(z, df=4):trt",
    "cr(z, df=4, constraints='center')",
    "cc(z, df=4, constraints='center')", "log(z)", "np.log1p(z)", "I(z**2) + z", "I(z > 1)", "flag",
    "band", "C(day)", "z.clip(0, 2)", "`my col`", "log(`my col`)", "where(z > 1, z, 1)", "z + I(week > 2) - 1",
    "C(w) + trt + 0", "bs(center(z), df=4)", "{z ** 2}",
]  # fmt: skip


def round_trip(result: Any, folder: Path, name: str = "fit.json") -> Any:
    result.save(folder / name)
    again = cg.load(folder / name)
    again.save(folder / f"again-{name}")
    assert (folder / f"again-{name}").read_bytes() == (folder / name).read_bytes()
    return again


def assert_same(again: Result, result: Result) -> None:
    assert type(again) is type(result)
    assert str(again) == str(result)
    for kind in ("observed", "robust"):
        pd.testing.assert_frame_equal(again.cov(kind), result.cov(kind), check_exact=True)
    pd.testing.assert_frame_equal(again.tidy(), result.tidy(), check_exact=True)
    pd.testing.assert_frame_equal(again.glance(), result.glance(), check_exact=True)
    pd.testing.assert_frame_equal(again.augment(), result.augment(), check_exact=True)
    pd.testing.assert_frame_equal(again.simulate(2, seed=1), result.simulate(2, seed=1), check_exact=True)


@pytest.mark.parametrize("name", RANDOM)
def test_random_effects(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    result = cg.random_effects(**({"cluster": "ID", "data": frame} | RANDOM[name]))  # type: ignore[arg-type]
    again = round_trip(result, tmp_path)
    assert_same(again, result)
    pd.testing.assert_frame_equal(again.random_effects, result.random_effects, check_exact=True)
    assert again.distribution == result.distribution
    assert repr(again.quadrature) == repr(result.quadrature)  # nan included
    assert not again.fit.beta.flags.writeable
    if name != "array":
        for kind in ("typical", "conditional", "marginal"):
            pd.testing.assert_series_equal(again.predict(frame, kind), result.predict(frame, kind), check_exact=True)


def test_everything_works_on_a_loaded_result(logit: Any, bacteria: pd.DataFrame, tmp_path: Path) -> None:
    again = round_trip(logit, tmp_path)
    for method in ("wald", "profile"):
        pd.testing.assert_frame_equal(again.conf_int(method=method), logit.conf_int(method=method), check_exact=True)
    assert again.clustering_test == logit.clustering_test
    assert str(again.check(seed=1)) == str(logit.check(seed=1))
    pd.testing.assert_frame_equal(again.term_tests(), logit.term_tests(), check_exact=True)
    pd.testing.assert_frame_equal(
        again.conf_int(method="bootstrap", n_boot=5, seed=1), logit.conf_int(method="bootstrap", n_boot=5, seed=1)
    )
    history = bacteria.iloc[:6].assign(ID="new")
    new = history.assign(late=1)
    pd.testing.assert_series_equal(
        again.predict(new, "conditional", history=history), logit.predict(new, "conditional", history=history)
    )
    assert str(cg.compare(again.pooled, again)) == str(cg.compare(logit.pooled, logit))


def test_other_models(frame: pd.DataFrame, tmp_path: Path) -> None:
    for result in (
        cg.pooled("yy ~ trt + late", frame, cluster="ID"),
        cg.pooled("yy ~ trt + bs(z, df=4)", frame),
        cg.fixed_effects("yy ~ late", frame, cluster="ID"),
        cg.fixed_effects("yy ~ C(w) + z", frame, cluster="ID", bias_correction="analytical"),
        cg.conditional("yy ~ late + C(w)", frame, cluster="ID"),
    ):
        again = round_trip(result, tmp_path)
        assert_same(again, result)
        pd.testing.assert_series_equal(again.predict(frame), result.predict(frame), check_exact=True)
        again = pickle.loads(pickle.dumps(again))
        assert_same(again, result)


@pytest.mark.parametrize("terms", TERMS)
def test_designs_build_the_same_rows(terms: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    result = cg.pooled(f"s ~ {terms}", frame, family="poisson")
    again = round_trip(result, tmp_path)
    new = frame.sample(50, replace=True, random_state=2).reset_index(drop=True)
    pd.testing.assert_series_equal(again.predict(new), result.predict(new), check_exact=True)
    few = new[new.trt == new.trt[0]]  # a level or two alone
    pd.testing.assert_series_equal(again.predict(few), result.predict(few), check_exact=True)
    pd.testing.assert_frame_equal(again.term_tests(), result.term_tests(), check_exact=True)


def test_a_selection(frame: pd.DataFrame, tmp_path: Path) -> None:
    chosen = cg.select_distribution("yy ~ late", frame, cluster="ID", distributions=["gaussian", "cauchy"])
    again = round_trip(chosen, tmp_path)
    assert str(again) == str(chosen)
    fits = list(again.fits.values())
    assert fits[0].data is fits[1].data  # once in the file, once in memory
    assert (tmp_path / "fit.json").read_text().count('"@": "ModelData"') == 1


def test_compressed(logit: Any, tmp_path: Path) -> None:
    again = round_trip(logit, tmp_path, "fit.json.gz")
    assert str(again) == str(logit)
    plain = gzip.decompress((tmp_path / "fit.json.gz").read_bytes())
    (tmp_path / "unpacked.json.gz").write_bytes(plain)  # judged by content, not by name
    assert str(cg.load(tmp_path / "unpacked.json.gz")) == str(logit)


def test_people_can_read_it(logit: Any, tmp_path: Path) -> None:
    logit.save(tmp_path / "fit.json")
    text = (tmp_path / "fit.json").read_text()
    content = json.loads(text, parse_constant=pytest.fail)  # strict JSON: no NaN
    assert content["format_version"] == storage.FORMAT_VERSION
    assert "\n".join(content["summary"]) == str(logit)
    assert content["result"]["fit"]["sigma"] == logit.sigma
    assert max(map(len, text.splitlines())) < 250


# Values --------------------------------------------------------------------------------------------------------------


def through_json(value: Any) -> Any:
    plain = json.loads(json.dumps(Writer(storage._modules()).plain(value), allow_nan=False))
    return Reader(storage._modules(), "a test", 1000).value(plain)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2**70, 0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), "text", (), (1, ("a", 2.0)),
        [1, [2]], {"a": 1}, {1: "b", "c": (2,)}, {"@": "odd"}, date(2024, 2, 29), datetime(2024, 1, 1, 12, 0, 0, 5),
        Decimal("1.10"), pd.Timestamp("2024-01-01 00:00:00.000000001"), pd.Interval(0.0, 1.5, "left"), np.float64(0.3),
        np.int32(4), np.bool_(True), cg.Quadrature("fixed", 7), cg.StudentT(2.5),
    ],
    ids=repr,
)  # fmt: skip
def test_values(value: Any) -> None:
    again = through_json(value)
    assert type(again) is type(value)
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([0.1, np.nan, np.inf, -np.inf, -0.0]),
        np.array([[1.0, np.nan], [2.0, 3.0]]),
        np.zeros((0, 3)),
        np.arange(3, dtype=np.int16),
        np.array([True, False]),
        np.array(["a", "b"], dtype=object),
        np.array(["a", "bcd"]),
        np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        np.array([1, 2], dtype="timedelta64[s]"),
        np.array([1.1, 2.2], dtype=np.float32),
        np.array([1.0, 2.0], dtype=">f8"),
        np.random.default_rng(3).standard_normal(1000) * 10.0 ** np.arange(-500, 500).clip(-300, 300),
    ],
    ids=lambda value: str(value.dtype),
)
def test_arrays(value: np.ndarray) -> None:
    again = through_json(value)
    assert again.dtype == value.dtype
    np.testing.assert_array_equal(again, value, strict=True)
    if value.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(again), np.signbit(value))


def test_one_value_for_all_stays_one_value() -> None:
    again = through_json(np.broadcast_to(1.0, 5))
    assert again.strides == (0,)
    np.testing.assert_array_equal(again, np.ones(5))


def test_what_has_no_form_is_refused_before_a_file_is_written(frame: pd.DataFrame, tmp_path: Path) -> None:
    result = cg.pooled("yy ~ late", frame.assign(g=[complex(i % 9, 1) for i in range(len(frame))]), cluster="ID")
    odd = result.data.labels.copy()
    odd[0] = object()
    object.__setattr__(result.data, "labels", odd)
    with pytest.raises(StorageError, match=r"builtins.object in result.data.labels\[0\]"):
        result.save(tmp_path / "fit.json")
    assert not (tmp_path / "fit.json").exists()


def concrete(kind: type) -> set[type]:
    found = {kind} if not getattr(kind, "__abstractmethods__", None) else set()
    return found.union(*(concrete(sub) for sub in kind.__subclasses__()))


NOT_STORED = {  # made anew from their family; of functions, which a file cannot hold; without the rows; bases of others
    ("clusterglm.results.models.blocks", "PooledResultOverBlocks"),
    ("clusterglm.results.models.blocks", "RandomEffectsResultOverBlocks"),
    ("clusterglm.model.distribution.by_scale", "Member"),
    ("clusterglm.model.distribution.user", "UserScaleFamily"),
    ("clusterglm.model.distribution.user", "UserFamily"),
    ("clusterglm.model.distribution.user", "_UserMember"),
    *(
        ("clusterglm.results.models.zeros_mixed", name)
        for name in ("ZeroSeveral", "_Passed", "_OfClusters", "_OfFactors")
    ),
}


def test_functions_of_the_user_are_not_stored(frame: pd.DataFrame, tmp_path: Path) -> None:
    own = cg.UserDistribution("own", ndtri)
    fit = cg.random_effects("yy ~ late", frame, cluster="ID", distribution=own)
    with pytest.raises(StorageError, match="UserScaleFamily"):
        fit.save(tmp_path / "fit.json")
    assert not list(tmp_path.iterdir())


def test_every_result_and_distribution_is_registered() -> None:
    """Whoever adds a result adds its name to `STORED`."""
    for module in storage.STORED:
        import_module(f"clusterglm.{module}")
    import clusterglm.model.distribution  # noqa: F401

    known = {(f"clusterglm.{module}", name) for module, names in storage.STORED.items() for name in names}
    registered = {(type(each).__module__, type(each).__name__) for each in DISTRIBUTIONS.values()}
    for base_class in (Result, Distribution):
        ours = {kind for kind in concrete(base_class) if kind.__module__.startswith("clusterglm")}
        ours = {kind for kind in ours if kind.__module__ in sys.modules}  # those that tests made and took away again
        assert {(kind.__module__, kind.__name__) for kind in ours} - NOT_STORED <= known | registered
    stored = sum(map(len, storage.STORED.values()))
    registries = len(RESPONSES) + len(WITH_OWN) + len(CONTINUOUS) + len(DISTRIBUTIONS)
    assert len(storage._modules()) == stored + registries  # no name twice
    for module, name in known:
        assert getattr(import_module(module), name).__module__ == module


# Refusals ------------------------------------------------------------------------------------------------------------


def changed(result: Result, path: Path, **entries: Any) -> Path:
    result.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    return path


def test_other_formats_are_refused(pooled: Any, tmp_path: Path) -> None:
    path = tmp_path / "fit.json"
    with pytest.raises(
        StorageError, match=r"(?s)format 3, written by clusterglm 9\.1.*format 1 or 2.*clusterglm==9\.1"
    ):
        cg.load(changed(pooled, path, format_version=3, clusterglm="9.1"))
    with pytest.raises(StorageError, match="no stored result"):
        cg.load(changed(pooled, path, format="another"))
    path.write_text("[1]")
    with pytest.raises(StorageError, match="no stored result"):
        cg.load(path)
    pooled.save(path)
    path.write_text(path.read_text()[:-100])
    with pytest.raises(StorageError, match="not complete JSON"):
        cg.load(path)
    packed = tmp_path / "fit.json.gz"
    pooled.save(packed)
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(StorageError, match="not complete JSON"):
        cg.load(packed)
    with pytest.raises(FileNotFoundError):
        cg.load(tmp_path / "nowhere.json")


def test_pickles_of_other_versions_are_refused(logit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pickle.dumps(logit)
    monkeypatch.setattr(base, "_version", lambda: "9.0")
    with pytest.raises(StorageError, match=rf"(?s)made by clusterglm {re.escape(cg.__version__)}.*9\.0.*fit\.save"):
        pickle.loads(made)
    with pytest.raises(StorageError, match="another version"):
        logit.__setstate__({"fit": None})  # as pickles were before they carried a version


def test_the_version_is_judged_before_anything_else_is_read(logit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that moved since would otherwise raise first."""
    made = pickle.dumps(logit).replace(b"clusterglm.fit.estimates", b"clusterglm.fit.estimated")
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(made)
    monkeypatch.setattr(base, "_version", lambda: "9.0")
    with pytest.raises(StorageError, match=rf"made by clusterglm {re.escape(cg.__version__)}"):
        pickle.loads(made)


def test_no_warning_by_itself(logit: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        round_trip(logit, tmp_path)
