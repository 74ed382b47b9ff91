"""What a dump is made with: `settings.json`, which a rerun must agree with."""

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

__all__ = ["SETTINGS", "check_settings", "read_settings", "settings_hash", "weights_name", "write_settings"]

SETTINGS = "settings.json"


def settings_hash(identity: Mapping[str, Any]) -> str:
    """A short name for what a dump is made with: the first 16 hex digits of its sha256."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]


def weights_name(weights: Mapping[str, Any]) -> str:
    """A short identity of weights: a Hub commit, a file's sha256, or "untrained:SEED"."""
    if weights["untrained"]:
        return f"untrained:{weights.get('seed')}"
    return str(weights.get("commit") or f"sha256:{weights.get('weights_sha256')}")


def check_settings(plan: DumpPlan, identity: Mapping[str, Any]) -> bool:
    """Make sure that a dump is made with the same as before.

    Returns:
        Whether there is a dump.
    Raises:
        ConfigError: it is made with something else; the message says what differs.
    """
    before = read_settings(plan.folder)
    if before is None:
        asked = settings_hash(identity)
        if any(entry.settings_hash not in ("", asked) for entry in read_manifest(plan.folder).values()):
            raise ConfigError(
                f"{plan.folder} holds a dump made with other settings, and no {SETTINGS} that tells which; put that "
                "file back, choose another folder, or replace the dump with --overwrite"
            )
        return False
    now = _what(plan, identity)
    differs = dict(_differences({key: before.get(key) for key in now}, now))
    if differs:
        listed = "\n  ".join(f"{name}: {was!r} there, {is_!r} asked for" for name, (was, is_) in differs.items())
        raise ConfigError(
            f"{plan.folder} holds a dump made with other settings:\n  {listed}\n"
            "ask for the same, choose another folder, or replace it with --overwrite"
        )
    return True


def write_settings(plan: DumpPlan, identity: Mapping[str, Any]) -> None:
    """Write what a dump is made with, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    noted = {
        "settings_hash": settings_hash(identity),
        **_what(plan, identity),
        "version": __version__,
        "created_at": time.time(),
    }
    with atomic_path(plan.folder / SETTINGS) as part:
        part.write_text(json.dumps(noted, indent=1), encoding="utf-8")


def _what(plan: DumpPlan, identity: Mapping[str, Any]) -> dict[str, Any]:
    what: dict[str, Any] = json.loads(json.dumps({"identity": identity, "format": plan.format}, default=str))
    return what


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What a dump is made with; None where the folder holds no dump.

    Raises:
        FeatureFileError: its settings file cannot be read.
    """
    path = folder / SETTINGS
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise FeatureFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise FeatureFileError(f"{path} holds no settings of a dump")
    return values


def _differences(was: Any, is_: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(was, dict) and isinstance(is_, dict):
        for key in sorted(was.keys() | is_.keys()):
            yield from _differences(was.get(key), is_.get(key), f"{name}.{key}" if name else key)
    elif was != is_:
        yield name.removeprefix("identity."), (was, is_)
