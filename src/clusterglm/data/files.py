"""Files that others read: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clusterglm.errors import OptionError, StorageError

_LONGEST = 200  # characters of a name that leave room for more


def check_writable(file: str | Path) -> Path:
    """The path, unless it cannot be that of a file; so that no work is done for nothing.

    Raises
    ------
    OptionError
        When it is no path, a folder, or lies in a folder that does not exist.
    """
    try:
        path = Path(file)
        wrong = "its name holds a zero byte" if "\0" in str(path) else "it is a folder" if path.is_dir() else ""
        if not wrong and not path.absolute().parent.is_dir():
            wrong = "its folder does not exist"
    except (TypeError, ValueError, OSError) as problem:
        raise OptionError(f"the file {file!r} to write to: {problem}", "the path of a file", "'result.json'") from None
    if wrong:
        raise OptionError(
            f"the file {str(file)!r} to write to: {wrong}", "a file in a folder that exists", "another path"
        )
    return path


@contextmanager
def whole(file: str | Path) -> Iterator[Path]:
    """A name to write to; what is there at the end takes the file's place, and nothing is left of what fails.

    The new content is on the disk before it takes the old one's place, with the old one's permissions; a symbolic link
    stays one. Devices and pipes, which nothing may replace, are written to directly.

    Raises
    ------
    OptionError
        See `check_writable`.
    StorageError
        When the file system refuses: no space, no permission.
    """
    path = check_writable(file)
    try:
        target = _to_replace(path)
        if target is None:
            yield path
            return
        ending = target.suffix[-_LONGEST:]
        part = target.with_name(f".{target.stem[:_LONGEST]}.{os.getpid()}.{os.urandom(4).hex()}{ending}")
        try:
            yield part
            _put(part, target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except BrokenPipeError:  # a reader that has seen enough
        raise
    except OSError as problem:
        raise StorageError(
            f"the file {str(file)!r}, which cannot be written: {problem.strerror or problem}",
            "space, and the permission to write there; what was there before is as it was",
            "another path",
        ) from None


def write_text(file: str | Path, text: str) -> None:
    """A text in UTF-8 as a whole file; see `whole`."""
    write_bytes(file, text.encode())


def write_bytes(file: str | Path, content: bytes) -> None:
    """Bytes as a whole file; see `whole`."""
    with whole(file) as part:
        part.write_bytes(content)


def _to_replace(path: Path) -> Path | None:
    """The file behind all links that is to be replaced; None for what is no plain file.

    The names below /dev and /proc of a process' own files (/dev/stdout) are those of devices even where the shell has
    sent them to a file: it holds that file open.
    """
    if str(path.absolute()).startswith(("/dev/", "/proc/")) and path.exists():
        return None
    target = path.resolve()
    return None if target.exists() and not target.is_file() else target


def _put(part: Path, target: Path) -> None:
    """Bring a file to the disk, and then to its place."""
    if target.exists():
        if not os.access(target, os.W_OK):  # whose owner does not want it written
            raise PermissionError(f"{target} is read-only")
        part.chmod(stat.S_IMODE(target.stat().st_mode))
    _sync(part)
    part.replace(target)
    with suppress(OSError):  # folders of some file systems cannot be brought to the disk by themselves
        _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
