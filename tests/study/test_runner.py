"""The runner of simulation studies: any number of workers, any interruption, the same file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from clusterglm.errors import StudyError
from clusterglm.study.design import Study, generator
from clusterglm.study.runner import Progress, run_study

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from studies_for_tests import noisy_mean, slow_mean  # noqa: E402  # by the name by which other processes import it


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes find the studies, too."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))


STUDY = Study("test", {"n": [5, 20], "mean": [0.0, 1.5]}, noisy_mean)


def test_a_file_with_a_row_for_everything(tmp_path: Path) -> None:
    done = run_study(STUDY, 40, tmp_path / "out.parquet", batch=7)
    table = pd.read_parquet(done.path)
    assert list(table.columns) == ["cell", "replicate", "n", "mean", "estimate", "failure", "method"]
    assert done.replicates == 160
    assert table.groupby(["cell", "replicate"]).ngroups == 160
    failures = table[table.failure.notna()]
    assert len(failures) == done.failed > 0
    assert set(failures.failure) == {"ValueError: unlucky"}
    assert failures.estimate.isna().all()
    first = noisy_mean({"n": 5, "mean": 1.5}, generator(1, 1, 3))[0]["estimate"]
    found = table[(table.cell == 1) & (table.replicate == 3) & (table.method == "mean")]
    assert found.estimate.tolist() == [first]
    assert (table[table.cell == 1][["n", "mean"]].drop_duplicates().to_numpy() == [[5, 1.5]]).all()
    assert not (tmp_path / "out.parts").exists()


def test_the_same_file_for_any_workers(tmp_path: Path) -> None:
    options = [{"workers": 1}, {"workers": 3, "threads": True}, {"workers": 2}]
    files = [
        run_study(STUDY, 20, tmp_path / f"{k}.parquet", batch=6, **chosen).path.read_bytes()  # type: ignore[arg-type]
        for k, chosen in enumerate(options)
    ]
    assert files[0] == files[1] == files[2]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    whole = run_study(STUDY, 30, tmp_path / "whole.parquet", batch=5).path.read_bytes()

    def stop(progress: Progress) -> None:
        if progress.done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, 30, tmp_path / "out.parquet", batch=5, progress=stop)
    assert not (tmp_path / "out.parquet").exists()
    seen: list[Progress] = []
    done = run_study(STUDY, 30, tmp_path / "out.parquet", batch=5, progress=seen.append, workers=2)
    assert seen[0].done > 40  # what was written is not done again
    assert seen[-1].done == seen[-1].total == 120
    assert done.path.read_bytes() == whole


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    code = (
        "from studies_for_tests import slow_mean; from clusterglm.study.design import Study; "
        "from clusterglm.study.runner import run_study; "
        "run_study(Study('killed', {'n': [5, 20], 'mean': [0.0]}, slow_mean), 60, 'out.parquet', batch=4)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HERE)})
    parts, deadline = tmp_path / "out.parts", time.monotonic() + 60.0
    while len(list(parts.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(list(parts.glob("*.parquet"))) < 30
    study = Study("killed", {"n": [5, 20], "mean": [0.0]}, slow_mean)
    done = run_study(study, 60, tmp_path / "out.parquet", batch=4)
    assert done.path.read_bytes() == run_study(study, 60, tmp_path / "again.parquet", batch=4).path.read_bytes()


def test_other_runs_are_not_touched(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, 10, target, batch=5, progress=stop)
    before = sorted((file.name, file.read_bytes()) for file in (tmp_path / "out.parts").iterdir())
    other = Study("test", {"n": [5, 20], "mean": [0.0, 2.5]}, noisy_mean)
    newer = Study("test", STUDY.factors, noisy_mean, version="2")
    for study, replicates, seed, what in (
        (other, 10, 1, "another design"),
        (newer, 10, 1, "another design"),
        (STUDY, 11, 1, "another replicates"),
        (STUDY, 10, 2, "another design, seed"),
    ):
        with pytest.raises(StudyError, match=what):
            run_study(study, replicates, target, seed=seed, batch=5)
    assert before == sorted((file.name, file.read_bytes()) for file in (tmp_path / "out.parts").iterdir())
    run_study(STUDY, 10, target, batch=5)
    with pytest.raises(StudyError, match="exists"):
        run_study(STUDY, 10, target, batch=5)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be written"):
        run_study(STUDY, 2, tmp_path / "nowhere" / "out.parquet")
    (tmp_path / "mine.parts").mkdir()
    (tmp_path / "mine.parts" / "letter.txt").write_text("do not touch")
    with pytest.raises(StudyError, match="is no run"):
        run_study(STUDY, 2, tmp_path / "mine.parquet")
    assert (tmp_path / "mine.parts" / "letter.txt").read_text() == "do not touch"


@pytest.mark.parametrize(
    "factors", [{"cell": [1]}, {"n": []}, {"n": "abc"}, {"n": [[1]]}, {"n": [1, 1]}], ids=lambda f: str(f)
)
def test_malformed_designs(factors: dict[str, list[int]]) -> None:
    with pytest.raises(StudyError):
        Study("bad", factors, noisy_mean)


def test_malformed_runs(tmp_path: Path) -> None:
    for options in ({"replicates": 0}, {"replicates": 2, "workers": 0}, {"replicates": 2, "batch": 0}):
        with pytest.raises(StudyError, match="replicates="):
            run_study(STUDY, out=tmp_path / "out.parquet", **options)  # type: ignore[arg-type]
