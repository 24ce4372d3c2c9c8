"""Files that are whole or absent: every write goes through here."""

import errno
import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mode_connectivity.settings import UserError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file takes the place of ``path`` when the block ends well.

    A job killed at any moment leaves the old file or the new one, never half of one; what it had
    written of the new one is deleted by the next writer.

    Raises:
        UserError: the disk or the quota is full; the temporary file is gone again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    delete_remains(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        if _is_full(error):
            raise UserError(
                f"{path}: no space left on the device; nothing was overwritten: free some space, "
                f"then run the same command again"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def delete_remains(path: Path) -> None:
    """Delete what writers of a file that were killed have left beside it."""
    for remains in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if remains.suffix[1:].isdigit():
            remains.unlink(missing_ok=True)


def _is_full(error: Exception) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    # safetensors reports the system's error only as text.
    return getattr(error, "errno", None) in full or any(os.strerror(n) in str(error) for n in full)


def date_back(folder: Path) -> int:
    """Date what lies below a folder with times in the future now, and return how much that was.

    A clock that was ahead leaves such files. Snakemake refuses whatever is made of them, as older
    than its inputs, and would go on to do so until that time has come. Their order stays.
    """
    now = time.time_ns()
    future: dict[int, list[Path]] = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            modified = path.lstat().st_mtime_ns
            if modified > now and not path.is_symlink():
                future.setdefault(modified, []).append(path)
    for steps, modified in enumerate(sorted(future, reverse=True)):
        # Microseconds: Snakemake reads times as floating-point seconds.
        then = now - 1000 * steps
        for path in future[modified]:
            os.utime(path, ns=(then, then))
    return sum(map(len, future.values()))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table as CSV, atomically, with every digit a reader needs to get the same floats."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def digest(path: Path) -> str:
    """Return a digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """Return JSON that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
