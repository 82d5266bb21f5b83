"""Files are whole or not there: under kill -9, on full disks, through links; refusals come in words."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

import clusterglm as cg
from clusterglm.data.files import whole, write_bytes
from clusterglm.errors import ClusterGLMError, OptionError, StorageError

mpl.use("Agg")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="devices and limits of Linux")

WRITER = """
import sys
from pathlib import Path
from clusterglm.data.files import write_bytes
target, k = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    k += 1
    write_bytes(target, bytes([65 + k % 26]) * 3_000_000)
"""


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ week", cg.datasets.load("bacteria"), cluster="ID")


@LINUX
def test_killed_in_the_middle_the_old_file_or_the_new_one_is_there(tmp_path: Path) -> None:
    target, chance = tmp_path / "file", random.Random(5)
    write_bytes(target, b"A" * 3_000_000)
    unfinished = 0
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(10):  # stopped as by a kill ten times, at the last of which it is killed
            time.sleep(chance.uniform(0.001, 0.012))
            os.kill(writer.pid, signal.SIGSTOP)
            content = target.read_bytes()
            assert len(content) == 3_000_000
            assert content == content[:1] * 3_000_000
            os.kill(writer.pid, signal.SIGCONT)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        content = target.read_bytes()
        assert content == content[:1] * 3_000_000
        unfinished += len(list(tmp_path.iterdir())) - 1
        for left in tmp_path.glob(".*"):
            left.unlink()
    assert unfinished > 0  # some were killed while they wrote


@LINUX
def test_a_full_disk_leaves_what_was_there(fit: Any, tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    fit.save(file)
    before = file.read_bytes()
    code = (
        "import resource, signal, sys, clusterglm as cg\n"
        "fit = cg.load(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))\n"
        "try: fit.save(sys.argv[1])\n"
        "except cg.errors.StorageError as error: print(error.got)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in ran.stdout
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def writers(fit: Any) -> dict[str, Any]:
    plot, table = cg.plot.coefficients(fit), cg.table([fit])
    return {
        "fit": lambda path: fit.save(path),
        "plot": lambda path: plot.save(path),
        "table": lambda path: table.save(path),
        "report": lambda path: fit.report(path, n_boot=0, n_sim=0, distributions=(), variables=()),
    }


ENDINGS = {"fit": ".json", "plot": ".png", "table": ".txt", "report": ".html"}


@pytest.mark.parametrize("what", ENDINGS)
def test_what_cannot_be_written_is_told_in_words(fit: Any, what: str, tmp_path: Path) -> None:
    write = writers(fit)[what]
    folder = tmp_path / f"folder{ENDINGS[what]}"
    folder.mkdir()
    with pytest.raises(OptionError, match="it is a folder"):
        write(folder)
    with pytest.raises(OptionError, match="its folder does not exist"):
        write(tmp_path / "nowhere" / f"x{ENDINGS[what]}")
    file = tmp_path / f"file{ENDINGS[what]}"
    write(file)
    for place in [f"/proc/x{ENDINGS[what]}"] if sys.platform == "linux" else []:
        with pytest.raises(StorageError, match="cannot be written"):
            write(place)
    assert sorted(tmp_path.iterdir()) == sorted([file, folder])


@LINUX
def test_devices_are_written_to_directly(fit: Any) -> None:
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        fit.save("/dev/full")
    assert Path("/dev/full").is_char_device()
    code = "import clusterglm as cg; cg.pooled('y ~ week', cg.datasets.load('bacteria')).save('/dev/stdout')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.lstrip().startswith("{")


@LINUX
def test_where_the_shell_has_sent_the_output_to_a_file_it_goes_there(tmp_path: Path) -> None:
    code = "import clusterglm as cg; cg.pooled('y ~ week', cg.datasets.load('bacteria')).save('/dev/stdout')"
    with (tmp_path / "out.json").open("wb") as out:
        number = os.fstat(out.fileno()).st_ino
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.json").stat().st_ino == number
    assert cg.load(tmp_path / "out.json").n_obs == 220


def test_links_and_permissions_stay(fit: Any, tmp_path: Path) -> None:
    file, link = tmp_path / "fit.json", tmp_path / "link.json"
    fit.save(file)
    file.chmod(0o640)
    link.symlink_to(file)
    fit.save(link)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    new = tmp_path / "new.json"
    fit.save(new)
    mask = os.umask(0)
    os.umask(mask)
    assert new.stat().st_mode & 0o777 == 0o666 & ~mask
    loose = tmp_path / "loose.json"
    loose.symlink_to(tmp_path / "to come.json")
    fit.save(loose)
    assert cg.load(tmp_path / "to come.json").n_obs == fit.n_obs


@pytest.mark.parametrize("path", [None, 3, ["a"], "", "a\0b", "x" * 300 + ".json", np.nan])
def test_what_is_no_path_is_told_in_words(fit: Any, path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClusterGLMError):
        fit.save(path)
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_written(tmp_path: Path) -> None:
    file = tmp_path / ("x" * 240 + ".json")
    write_bytes(file, b"1")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole(tmp_path / "x") as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
