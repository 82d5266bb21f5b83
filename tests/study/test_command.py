"""`clusterglm study`: one file for any workers and any interruption, reports, and errors that name what is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from clusterglm.cli import app
from clusterglm.study import run_study
from clusterglm.study.catalogue import command, read_findings
from clusterglm.study.effects import STUDY
from clusterglm.study.runner import description

# Two batches of each cell, of 25 replicates and of one.
SMALL = ("--replicates", "26", "--set", "size=2,3", "--set", "clusters=20", "--set", "sigma=0,1")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", *arguments])


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "clusterglm.cli", "study", *arguments]
    return subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, by threads."""
    out = tmp_path_factory.mktemp("study") / "effects.parquet"
    study = STUDY.with_levels(["size=2,3", "clusters=20", "sigma=0,1"])
    return run_study(study, 26, out, workers=2, threads=True).path


def test_a_run_and_its_report(finished: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "again.parquet", tmp_path / "again.html"
    ran = run("effects", *SMALL, "--out", str(out), "--report", str(page))
    assert ran.exit_code == 0, ran.output
    assert "104 replicates" in ran.output
    assert "contradicted" in ran.output
    assert out.read_bytes() == finished.read_bytes()
    text = page.read_text(encoding="utf-8")
    words = "clusterglm study effects --replicates 26 --seed 1 --set size=2,3 --set clusters=20 --set sigma=0.0,1.0"
    assert f"{words} --out again.parquet" in text
    assert 'href="again.parquet"' in text
    assert re.search(r"numpy \d", text)
    assert text.count("<svg") == len(read_findings([out])[0].figures)
    assert "prefers-color-scheme: dark" in text
    drawn = text[text.index("<svg") : text.rindex("</svg>")].lower()
    assert "#ffffff" not in drawn  # a figure has the colours of the page
    assert "#000000" not in drawn
    assert not re.findall(
        r'(?:src|href)="(?!#)(?!again.parquet)[^"]*"', re.sub(r"xlink:href", "", text)
    )  # stands alone
    for claim in read_findings([out])[0].claims:
        assert claim.verdict.capitalize() in text
    taken = run("effects", *SMALL, "--out", str(out))
    assert taken.exit_code == 2
    assert "exists" in taken.output


def test_the_file_says_what_made_it(finished: Path) -> None:
    about = description(finished)
    assert (about["study"], about["replicates"], about["seed"]) == ("effects", 26, 1)
    assert about["factors"]["size"] == [2, 3]
    assert set(about["versions"]) >= {"python", "clusterglm", "numpy"}
    assert about["run"]["cpu_seconds"] > 0.0
    assert command(about, "x.parquet").startswith("clusterglm study effects --replicates 26 --seed 1 --set size=2,3")


def test_killed_and_started_again(finished: Path, tmp_path: Path) -> None:
    arguments = ("effects", *SMALL, "--out", "killed.parquet", "--workers", "2")
    process = start(*arguments, cwd=tmp_path)
    parts = tmp_path / "killed.parts"
    while len(list(parts.glob("*.parquet"))) < 2 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(list(parts.glob("*.parquet")))
    assert 2 <= done < 8
    changed = run(*arguments[:2], "27", *arguments[3:-4], "--out", str(tmp_path / "killed.parquet"))
    assert changed.exit_code == 2
    assert "another replicates" in changed.output
    other = run("effects", *SMALL[:2], "--set", "size=2,4", "--out", str(tmp_path / "killed.parquet"))
    assert other.exit_code == 2
    assert "another design" in other.output
    assert len(list(parts.glob("*.parquet"))) == done  # nothing was touched
    again = run("effects", *SMALL, "--out", str(tmp_path / "killed.parquet"), "--scheduler", "threads")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "killed.parquet").read_bytes() == finished.read_bytes()
    assert not parts.exists()


def test_dask_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    """Two local workers that are started for it; and the command, with the address of their scheduler."""
    script = tmp_path / "by_dask.py"
    script.write_text(
        "from clusterglm.cli import app\n"
        "from clusterglm.study import run_study\n"
        "from clusterglm.study.dask import dask_client\n"
        "from clusterglm.study.effects import STUDY\n"
        "if __name__ == '__main__':\n"
        "    study = STUDY.with_levels(['size=2,3', 'clusters=20', 'sigma=0,1'])\n"
        "    with dask_client('dask', 2) as client:\n"
        "        assert len(client.scheduler_info()['workers']) == 2\n"
        "        run_study(study, 26, 'dask.parquet', client=client)\n"
        f"        words = ['study', 'effects', *{SMALL!r}, '--out', 'address.parquet']\n"
        "        app([*words, '--scheduler', client.scheduler.address], standalone_mode=False)\n"
    )
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "dask.parquet").read_bytes() == finished.read_bytes()
    assert (tmp_path / "address.parquet").read_bytes() == finished.read_bytes()


def test_batches_of_a_lost_worker_are_run_again(finished: Path, tmp_path: Path) -> None:
    script = tmp_path / "by_dask.py"
    script.write_text(
        "from distributed import LocalCluster\n"
        "from clusterglm.study import run_study\n"
        "from clusterglm.study.effects import STUDY\n"
        "def kill(progress):\n"
        "    if not seen:\n"
        "        next(iter(cluster.workers.values())).process.process.kill()\n"
        "    seen.append(progress)\n"
        "if __name__ == '__main__':\n"
        "    study, seen = STUDY.with_levels(['size=2,3', 'clusters=20', 'sigma=0,1']), []\n"
        "    options = {'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': None, 'silence_logs': 50}\n"
        "    with LocalCluster(**options) as cluster, cluster.get_client() as client:\n"
        "        run_study(study, 26, 'dask.parquet', client=client, progress=kill)\n"
    )
    ran = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "dask.parquet").read_bytes() == finished.read_bytes()


def test_no_scheduler_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterglm.study.dask._PATIENCE", "1s")
    out = tmp_path / "out.parquet"
    ran = run("effects", "--out", str(out), "--scheduler", "tcp://127.0.0.1:9")
    assert ran.exit_code == 2
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_stopped_by_the_user(tmp_path: Path) -> None:
    process = start("effects", "--replicates", "5000", "--out", "out.parquet", "--scheduler", "threads", cwd=tmp_path)
    parts = tmp_path / "out.parts"
    # a file that is being written has a name that begins with a dot
    while len(list(parts.glob("cell*.parquet"))) < 1 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().endswith("stopped")
    assert "Traceback" not in said
    assert list(parts.glob("cell*.parquet"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("effects", "--set", "size=1"), "2 or more"),
        (("effects", "--set", "sise=2"), "did you mean 'size'"),
        (("distribution", "--set", "truth=norm"), "distribution='norm'"),
        (("effects", "--replicates", "0"), "--replicates 0"),
        (("effects", "--workers", "0"), "--workers 0"),
        (("effects", "--scheduler", "slurm"), "--scheduler slurm"),
        (("effects", "--report", "no/such/folder.html"), "folder does not exist"),
    ],
)
def test_errors_come_before_any_work(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments, "--out", "out.parquet")
    assert ran.exit_code == 2
    assert ran.stderr.startswith("error: ")
    assert words in ran.stderr
    assert "try:" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    ran = run("effects", "--out", str(tmp_path / "none" / "out.parquet"))
    assert ran.exit_code == 2
    assert "cannot be written" in ran.stderr
    (tmp_path / "file").write_text("")
    assert run("effects", "--out", str(tmp_path / "file" / "out.parquet")).exit_code == 2


def test_reports_of_what_is_no_study(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("not one")
    pd.DataFrame({"x": [1.0]}).to_parquet(tmp_path / "other.parquet")
    for name, words in (("text", "cannot be read"), ("other", "is no file of a study"), ("nowhere", "cannot be read")):
        ran = run("report", str(tmp_path / f"{name}.parquet"))
        assert ran.exit_code == 2
        assert words in ran.stderr
    twice = run("report", str(finished), str(finished))
    assert "has the seed of another file" in twice.stderr
    assert not list(tmp_path.glob("*.html"))


def test_two_runs_in_one_report(finished: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.parquet"
    ran = run("effects", *SMALL, "--seed", "2", "--replicates", "20", "--out", str(more), "--scheduler", "threads")
    assert ran.exit_code == 0, ran.output
    assert json.loads(more.with_suffix(".json").read_text())["cpu_seconds"] > 0.0
    ran = run("report", str(finished), str(more), "--out", str(tmp_path / "both.html"))
    assert ran.exit_code == 0, ran.output
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "--seed 1" in text
    assert "--seed 2" in text
    findings, runs = read_findings([finished, more])
    assert len(runs) == 2
    assert findings.tables[0].rows[0][2] == "46"  # replicates of both
