"""The folder of a dump: what it is made with, what is done already, and how results are kept."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.batch.claim import Shard, claim_folder
from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.manifest import MANIFEST, Manifest, ManifestEntry, read_manifest
from marlin_sdk.batch.recipe import settings_hash
from marlin_sdk.batch.recovery import sealed_shards, without_lost
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.writers import FeatureWriter, open_writer, recover_entries, remove_leftovers
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.feature_files import FeatureFormat, sidecar_of

__all__ = ["Dump", "DumpPlan", "open_dump", "read_settings"]

SETTINGS = "settings.json"
# What keeps one file from being written, and no other: something else is in its place, or its name is too long.
_OF_ONE_FILE = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class DumpPlan:
    """How a dump is kept.

    Attributes:
        folder: of the dump.
        format: npz, npy, safetensors, parquet or webdataset.
        shard: the part of the inputs that this run takes.
        shard_rows: rows in a file, of the formats that keep many videos in one.
        retry_failed: do again what failed in an earlier run.
        overwrite: do everything again; what is there is replaced.
    """

    folder: Path
    format: str = "npz"
    shard: Shard = field(default_factory=lambda: Shard(1, 1))
    shard_rows: int = 20_000
    retry_failed: bool = True
    overwrite: bool = False

    @property
    def is_file_a_video(self) -> bool:
        """Whether each video has a file of its own."""
        return self.format in get_args(FeatureFormat)

    def where(self, id: str) -> str:
        """Where a person finds the rows of a video."""
        return str(self.folder / f"{id}.{self.format}") if self.is_file_a_video else f"{self.folder}: {id}"

    def is_missing(self, entry: ManifestEntry | None) -> bool:
        """Whether a video is to be done, given what earlier runs made of it."""
        return self.overwrite or entry is None or (not entry.is_final and self.retry_failed)


class Dump:
    """A dump that this process holds, open for results. Made by `open_dump`.

    Attributes:
        entries: what earlier runs, and this one, did, by id; not what they did that is there no more.
        kept: what this run did of it: what is safely on the disk and told of in the manifest.
    """

    def __init__(
        self, plan: DumpPlan, identity: Mapping[str, Any], entries: dict[str, ManifestEntry], manifest: Manifest
    ) -> None:
        self.plan = plan
        self._hash = settings_hash(identity)
        self._weights = weights_name(identity["weights"])
        self._manifest = manifest
        self._writer: FeatureWriter = open_writer(
            plan.folder,
            plan.format,
            suffix=plan.shard.suffix,
            shard_rows=plan.shard_rows,
            told={entry.file for entry in entries.values() if entry.file is not None},
        )
        self.entries = without_lost(plan.folder, entries)
        self.kept: list[ManifestEntry] = []

    def recover(self) -> None:
        """Note what an earlier run has kept, but was killed before it could say so."""
        final = {id for id, entry in self.entries.items() if entry.is_final}
        self._append(recover_entries(self.plan.folder, final, suffix=self.plan.shard.suffix))

    def todo(self, videos: list[VideoInput]) -> list[VideoInput]:
        """Those that no earlier run has done.

        Raises:
            ConfigError: an id stood for another part of its video in an earlier run.
        """
        todo = []
        for video in videos:
            entry = self.entries.get(video.id)
            if entry is None or self.plan.is_missing(entry):
                todo.append(video)
            elif entry.part != (asked := (video.start_s, video.end_s, video.track)):
                raise ConfigError(
                    f"{self.plan.folder} holds {video.id!r} already, of another part of the video: "
                    f"(start_s, end_s, track) = {entry.part} there, {asked} asked for; give it another id"
                )
        return todo

    def store(self, result: VideoResult) -> ManifestEntry:
        """Keep a result; it is in the manifest once its rows are safely on the disk.

        Returns:
            What became of it: failed also where only its rows cannot be kept.
        Raises:
            FeatureFileError: nothing can be written any more; the dump can be resumed.
        """
        entry = result.entry(self._hash, self._weights)
        if result.features is None or not entry.rows:
            self._keep([entry])
            return entry
        try:
            self._keep(self._writer.write(entry, result.features))
        except (ConfigError, FeatureFileError) as error:
            if not self._is_of_one_video(error):
                raise
            entry = replace(
                entry, status="failed", rows=0, skipped_windows=0, error=type(error).__name__, message=str(error)
            )
            self._keep([entry])
        return entry

    def _is_of_one_video(self, error: MarlinError) -> bool:
        """Whether the others can be kept all the same."""
        if isinstance(error, ConfigError):
            return True
        cause = error.__cause__
        while cause is not None and getattr(cause, "errno", None) is None:
            cause = cause.__cause__
        return self.plan.is_file_a_video and getattr(cause, "errno", None) in _OF_ONE_FILE

    def _keep(self, entries: list[ManifestEntry]) -> None:
        self._append(entries)
        self.kept += entries

    def _append(self, entries: list[ManifestEntry]) -> None:
        if not entries:
            return
        try:
            self._manifest.append(entries)
        except OSError as error:
            raise _unwritable(self._manifest.path, error) from error
        self.entries.update({entry.id: entry for entry in entries})

    def close(self) -> None:
        """Seal what is open."""
        self._keep(self._writer.close())

    def abandon(self) -> None:
        """Throw away what is not sealed; a rerun makes it again."""
        self._writer.abandon()


@contextmanager
def open_dump(plan: DumpPlan, identity: Mapping[str, Any]) -> Iterator[Dump]:
    """Hold a dump's folder, and leave it resumable however the block ends.

    Args:
        plan: how it is kept.
        identity: what it is made with (`Recipe.identity`).
    Raises:
        ConfigError: it cannot be made, another run holds it, or it was made with other settings; the message says what
            differs.
        FeatureFileError: the disk is full.
    """
    with ExitStack() as stack:
        try:
            dump = _open(plan, identity, stack)
        except MarlinError:
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise _unwritable(plan.folder, error) from error
            raise ConfigError(f"cannot write to {plan.folder}: {error.strerror}; choose another folder") from error
        try:
            yield dump
        except FeatureFileError:
            dump.abandon()
            raise
        except BaseException:
            dump.close()  # what is whole is kept
            raise
        dump.close()


def _open(plan: DumpPlan, identity: Mapping[str, Any], stack: ExitStack) -> Dump:
    plan.folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(claim_folder(plan.folder, plan.shard))
    if plan.overwrite:
        _clear(plan)
    if not check_settings(plan, identity):
        _note_settings(plan, identity)
    manifest = stack.enter_context(Manifest(plan.folder / f"manifest{plan.shard.suffix}.jsonl"))
    remove_leftovers(plan.folder, suffix=plan.shard.suffix)
    dump = Dump(plan, identity, read_manifest(plan.folder), manifest)
    dump.recover()
    return dump


def _unwritable(path: Path, error: OSError) -> FeatureFileError:
    if error.errno in _FULL:
        said = f"the disk is full: {path} was not written; what is finished is kept, so free some space and run again"
        return FeatureFileError(said)
    return FeatureFileError(f"cannot write {path}: {error.strerror}; check the folder and run again")


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


def _note_settings(plan: DumpPlan, identity: Mapping[str, Any]) -> None:
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


def _clear(plan: DumpPlan) -> None:
    """Remove what earlier runs left in a folder that is to be made anew; nothing that they did not write."""
    if plan.shard.count > 1:
        raise ConfigError("--overwrite would take away what other shards have done; run it without --shard")
    entries = read_manifest(plan.folder)
    for entry in entries.values():
        if entry.file is not None:
            _remove(plan.folder, entry.file)
    shards = [shard.path for shard in sealed_shards(plan.folder)]
    for path in [*shards, *plan.folder.glob(MANIFEST), plan.folder / SETTINGS]:
        path.unlink(missing_ok=True)


def _remove(folder: Path, file: str) -> None:
    path = folder / file
    if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
        path.unlink()
        if path.suffix == ".npy":
            sidecar_of(path).unlink(missing_ok=True)


def weights_name(weights: Mapping[str, Any]) -> str:
    """A short identity of weights: a Hub commit, a file's sha256, or "untrained:SEED"."""
    if weights["untrained"]:
        return f"untrained:{weights.get('seed')}"
    return str(weights.get("commit") or f"sha256:{weights.get('weights_sha256')}")
