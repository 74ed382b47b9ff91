"""Models converted to another runtime's format, cached on disk by their identity."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from marlin_sdk.errors import ConfigError
from marlin_sdk.weights.downloads import marlin_home

__all__ = ["converted_model"]

_log = logging.getLogger("marlin_sdk")
_ABOUT = "about.json"


def converted_model(kind: str, identity: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder of a converted model under `marlin_home() / "converted"`; created if it does not exist.

    It is written to a temporary folder and renamed, so that it appears atomically. Of two processes that create it
    concurrently, the first to finish wins and the other uses the result. A truncated one is created again.

    Args:
        kind: the format, which has its own folder.
        identity: everything that determines the content, as JSON values: weights, size, converter and its version. A
            change leads to another folder.
        make: writes the files into the empty folder passed to it.
    Raises:
        ConfigError: the folder cannot be written; the message says how to move it.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(str(identity.get("model", "model"))).name)[:48]
    described = json.dumps(identity, sort_keys=True)
    folder = marlin_home() / "converted" / kind / f"{name}-{hashlib.sha256(described.encode()).hexdigest()[:16]}"
    if _is_complete(folder):
        return folder
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        _log.info("converting %s for %s; stored in %s", identity.get("model"), kind, folder)
        make(part)
        sizes = {file.name: file.stat().st_size for file in sorted(part.iterdir())}
        (part / _ABOUT).write_text(json.dumps({"identity": identity, "sizes": sizes}, indent=1), encoding="utf-8")
        for file in part.iterdir():
            _flush(file)
        _move(part, folder)
    except OSError as error:
        raise ConfigError(
            f"the model converted for {kind} cannot be stored in {folder.parent}: {error}; "
            "free some space there, or set MARLIN_HOME to another folder"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _move(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        if _is_complete(folder):  # another process was faster
            return
        if not folder.exists():
            raise
        _log.warning("%s is damaged; it is replaced", folder)
        folder.rename(part.with_name(f"{part.name}.old"))
        part.rename(folder)
        shutil.rmtree(part.with_name(f"{part.name}.old"), ignore_errors=True)


def _is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _flush(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
