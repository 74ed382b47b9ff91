"""`settings.json`, in a parquet dump `_settings.json`: the settings of a dump, which a rerun must match."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.manifest import read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.errors import ConfigError, FeatureFileError

__all__ = [
    "SETTINGS",
    "check_settings",
    "differences",
    "read_settings",
    "settings_hash",
    "weights_name",
    "write_settings",
]

SETTINGS = "settings.json"


def settings_hash(identity: Mapping[str, Any]) -> str:
    """A short hash of the settings of a dump: the first 16 hex digits of their sha256."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights_name(weights: Mapping[str, Any]) -> str:
    """A short identity of weights: a Hub commit, a file's sha256, or "untrained:SEED"."""
    if weights["untrained"]:
        return f"untrained:{weights.get('seed')}"
    return str(weights.get("commit") or f"sha256:{weights.get('weights_sha256')}")


def check_settings(plan: DumpPlan, identity: Mapping[str, Any]) -> bool:
    """Check that a dump was made with the same settings.

    Returns:
        Whether the folder has settings.
    Raises:
        ConfigError: it was made with other settings; the message lists the differences.
    """
    before = read_settings(plan.folder)
    if before is None:
        requested = settings_hash(identity)
        if any(entry.settings_hash not in ("", requested) for entry in read_manifest(plan.folder).values()):
            raise ConfigError(
                f"{plan.folder} holds a dump made with other settings, and no {SETTINGS} that lists them; restore "
                "that file, choose another folder, or replace the dump with --overwrite"
            )
        return False
    now = _comparable(plan, identity)
    if differ := differences({key: before.get(key) for key in now}, now):
        listed = "\n  ".join(f"{line} requested" for line in differ)
        raise ConfigError(
            f"{plan.folder} holds a dump made with other settings:\n  {listed}\n"
            "use the same settings, choose another folder, or replace it with --overwrite"
        )
    return True


def write_settings(plan: DumpPlan, identity: Mapping[str, Any]) -> None:
    """Write the settings of a dump atomically.

    Raises:
        OSError: it cannot be written.
    """
    values = {
        "settings_hash": settings_hash(identity),
        **_comparable(plan, identity),
        "version": __version__,
        "created_at": time.time(),
    }
    with atomic_path(plan.folder / plan.beside(SETTINGS)) as part:
        part.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _comparable(plan: DumpPlan, identity: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps({"identity": identity, "format": plan.format}, default=str))
    return values


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of a dump; None if the folder has none.

    Raises:
        FeatureFileError: its settings file cannot be read.
    """
    path = folder / f"_{SETTINGS}"
    if not path.exists():
        path = folder / SETTINGS
    if path.exists() and not path.is_file():
        raise FeatureFileError(f"{path} is a folder, pipe or device; expected a file")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise FeatureFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise FeatureFileError(f"{path} does not hold the settings of a dump")
    return values


def differences(there: Any, here: Any) -> list[str]:
    """What two settings differ in, such as "settings.stride: 16 there, 8".

    Args:
        there: plain JSON, of an earlier run.
        here: of this one.
    """
    return [f"{name.removeprefix('identity.')}: {was!r} there, {is_!r}" for name, was, is_ in _unequal(there, here)]


def _unequal(there: Any, here: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _unequal(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield name, there, here
