"""The folder of a dump: what it is made with, what is done already, and how results are kept."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.dump.lock import lock_folder
from marlin_sdk.dump.manifest import MANIFEST, Manifest, ManifestEntry, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.recovery import sealed_shards, without_missing
from marlin_sdk.dump.settings import SETTINGS, check_settings, settings_hash, weights_name, write_settings
from marlin_sdk.dump.writers import FeatureWriter, open_writer, recover_entries, remove_leftovers
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.features.files import sidecar_of

__all__ = ["Dump", "open_dump"]

# What keeps one file from being written, and no other: something else is in its place, or its name is too long.
_OF_ONE_FILE = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        self.entries = without_missing(plan.folder, entries)
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
    stack.enter_context(lock_folder(plan.folder, plan.shard))
    if plan.overwrite:
        _clear(plan)
    if not check_settings(plan, identity):
        write_settings(plan, identity)
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
