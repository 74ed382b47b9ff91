"""Atomic file writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success, flush it to disk and rename it; on error, remove it.

    Args:
        target: the file to create; its folder is created if missing.
    Yields:
        The path of an empty file to write to, with the target's suffix and the default permissions of a new file, on
        the target's file system (so that the rename is atomic).
    Raises:
        OSError: the folder cannot be created or written, or `target` is a folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # 32 characters are at most 128 bytes; a file name may have 255.
    part = target.with_name(f".{target.stem[:32]}.{secrets.token_hex(8)}.part{target.suffix}")
    # Not mkstemp: its files are private, and the umask cannot be read without changing it for every thread.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    mode = part.stat().st_mode
    try:
        yield part
        part.chmod(mode)  # safetensors replaces it with a private file
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
