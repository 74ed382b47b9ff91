"""The folder of a dump: its settings, the videos that are done, and writing new results."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlin_sdk.batch.results import VideoResult
from marlin_sdk.dump.lock import lock_folder, lock_shards
from marlin_sdk.dump.manifest import Manifest, ManifestEntry, manifests, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.recovery import sealed_shards, without_missing
from marlin_sdk.dump.relabel import Labelling, agree_on_labels, relabel_shard
from marlin_sdk.dump.settings import SETTINGS, check_settings, settings_hash, weights_name, write_settings
from marlin_sdk.dump.writers import FeatureWriter, open_writer, recover_entries, remove_leftovers
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.features.files import sidecar_of
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.labels import Label, LabelType, same_labels

__all__ = ["Dump", "open_dump"]

# Errors that affect one file and no other: its path is taken by something else, or its name is too long.
_ONE_FILE_ERRNOS = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


class Dump:
    """A dump that this process has locked, open for results. Created by `open_dump`.

    Attributes:
        entries: entries of this run and earlier ones, by id, without those whose file is missing.
        written: entries of this run that are on disk and in the manifest.
    """

    def __init__(
        self, plan: DumpPlan, identity: Mapping[str, Any], entries: dict[str, ManifestEntry], manifest: Manifest
    ) -> None:
        self.plan = plan
        self._hash = settings_hash(identity)
        self._weights = weights_name(identity["weights"])
        self._manifest = manifest
        self._labelling = Labelling()
        self._label_types: dict[str, LabelType] = {}
        self._writer: FeatureWriter = open_writer(
            plan.folder,
            plan.format,
            suffix=plan.shard.suffix,
            shard_rows=plan.shard_rows,
            named_files={entry.file for entry in entries.values() if entry.file is not None},
            label_types=self._label_types,
        )
        self.entries = without_missing(plan.folder, entries)
        self.written: list[ManifestEntry] = []

    def recover(self) -> None:
        """Append entries for what an earlier run wrote, but did not record because it was killed."""
        final = {id for id, entry in self.entries.items() if entry.is_final}
        self._append(recover_entries(self.plan.folder, final, suffix=self.plan.shard.suffix))

    def lacks(self, video: VideoInput) -> bool:
        """Whether no earlier run has finished a video.

        Raises:
            ConfigError: its id meant another part of its video in an earlier run.
        """
        entry = self.entries.get(video.id)
        if entry is None or self.plan.is_missing(entry):
            return True
        if entry.part != (requested := (video.start_s, video.end_s, video.track)):
            raise ConfigError(
                f"{self.plan.folder} already holds {video.id!r} for another part of the video: "
                f"(start_s, end_s, track) is {entry.part} there, {requested} requested; use another id"
            )
        return False

    def relabel(self, videos: Iterable[VideoInput]) -> tuple[int, int]:
        """Give the dump the labels of a table, and each label one type in all of it, without embedding again.

        Shards are rewritten before the manifest says so: after a kill in between, a rerun finds the same to do.

        Args:
            videos: all videos of the run, those of other shards too. Without labels, a video keeps those it has.
        Returns:
            How many finished videos have other labels now, and how many shards were rewritten.
        Raises:
            ConfigError: a label has types that do not go together.
            FeatureFileError: a shard is broken, or the disk is full.
        """
        table = {video.id: video.labels for video in videos if video.labels}
        self._labelling = agree_on_labels(table, self.entries, self.plan.folder)
        self._label_types.update(self._labelling.types)
        if not table and not self._label_types:
            return 0, 0
        changed = []
        for id, entry in self.entries.items():
            if self.plan.shard.takes(id) and not self.plan.is_missing(entry):
                labels = self._labelling.of(entry)
                if not same_labels(labels, _filled(entry.labels or {})):
                    changed.append(replace(entry, labels=labels or None, labelled_at=round(time.time(), 3)))
        rewritten = self._relabel_shards({entry.file for entry in changed})
        self._append(changed)
        return len(changed), rewritten

    def _relabel_shards(self, files: set[str | None]) -> int:
        """Rewrite the shards whose labels or label columns differ; `files` are those whose labels changed."""
        rewritten = 0
        for path in [shard.path for shard in sealed_shards(self.plan.folder)] if files or self._label_types else ():
            try:
                with lock_shards(self.plan.folder):
                    rewritten += relabel_shard(path, self._labelling, is_current=path.name not in files)
            except OSError as error:
                raise _unwritable(path, error) from error
        return rewritten

    def store(self, result: VideoResult) -> ManifestEntry:
        """Write a result; its entry is appended to the manifest once its rows are on disk.

        Returns:
            Its entry; its status is failed also if only its rows could not be written.
        Raises:
            FeatureFileError: nothing more can be written; the dump can be resumed.
        """
        entry = result.entry(self._hash, self._weights)
        entry = replace(entry, labels=self._labelling.of(entry) or None)
        if result.features is None or not entry.rows:
            self._record([entry])
            return entry
        try:
            self._record(self._writer.write(entry, result.features))
        except (ConfigError, FeatureFileError) as error:
            if not self._affects_one_video(error):
                raise
            entry = replace(
                entry, status="failed", rows=0, skipped_windows=0, error=type(error).__name__, message=str(error)
            )
            self._record([entry])
        return entry

    def _affects_one_video(self, error: MarlinError) -> bool:
        """Whether other videos can still be written."""
        if isinstance(error, ConfigError):
            return True
        cause = error.__cause__
        while cause is not None and getattr(cause, "errno", None) is None:
            cause = cause.__cause__
        return self.plan.has_file_per_video and getattr(cause, "errno", None) in _ONE_FILE_ERRNOS

    def _record(self, entries: list[ManifestEntry]) -> None:
        self._append(entries)
        self.written += entries

    def _append(self, entries: list[ManifestEntry]) -> None:
        if not entries:
            return
        try:
            self._manifest.append(entries)
        except OSError as error:
            raise _unwritable(self._manifest.path, error) from error
        self.entries.update({entry.id: entry for entry in entries})

    def close(self) -> None:
        """Seal open files."""
        self._record(self._writer.close())

    def discard(self) -> None:
        """Discard what is not sealed; a rerun embeds it again."""
        self._writer.discard()


@contextmanager
def open_dump(plan: DumpPlan, identity: Mapping[str, Any]) -> Iterator[Dump]:
    """Lock and open the folder of a dump; it stays resumable however the block ends.

    Args:
        plan: layout of the dump.
        identity: settings of the dump (`Recipe.identity`).
    Raises:
        ConfigError: it cannot be created, another run holds the lock, or it was made with other settings; the message
            lists the differences.
        FeatureFileError: the disk is full.
    """
    with ExitStack() as stack:
        try:
            dump = _open(plan, identity, stack)
        except MarlinError:
            raise
        except OSError as error:
            if error.errno in _DISK_FULL_ERRNOS:
                raise _unwritable(plan.folder, error) from error
            raise ConfigError(f"cannot write to {plan.folder}: {error.strerror}; choose another folder") from error
        try:
            yield dump
        except FeatureFileError:
            dump.discard()
            raise
        except BaseException:
            dump.close()  # keep what is complete
            raise
        dump.close()


def _open(plan: DumpPlan, identity: Mapping[str, Any], stack: ExitStack) -> Dump:
    plan.folder.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock_folder(plan.folder, plan.shard))
    if plan.overwrite:
        _clear(plan)
    _move_aside(plan)
    if not check_settings(plan, identity):
        write_settings(plan, identity)
    manifest = stack.enter_context(Manifest(plan.folder / plan.beside(f"manifest{plan.shard.suffix}.jsonl")))
    remove_leftovers(plan.folder, suffix=plan.shard.suffix)
    dump = Dump(plan, identity, read_manifest(plan.folder), manifest)
    dump.recover()
    return dump


def _move_aside(plan: DumpPlan) -> None:
    """Rename what earlier versions wrote beside the shards of a parquet dump, where Arrow took it for shards."""
    own = [path.name for path in manifests(plan.folder)]
    if plan.shard.count > 1:  # other runs are writing the others
        own = [name for name in own if name == f"manifest{plan.shard.suffix}.jsonl"]
    with lock_shards(plan.folder):
        for name in (SETTINGS, *own):
            before, after = plan.folder / name, plan.folder / plan.beside(name.removeprefix("_"))
            if before != after and before.exists() and not after.exists():
                before.rename(after)


def _unwritable(path: Path, error: OSError) -> FeatureFileError:
    if error.errno in _DISK_FULL_ERRNOS:
        message = f"the disk is full: {path} was not written; finished videos are kept: free some space and run again"
        return FeatureFileError(message)
    return FeatureFileError(f"cannot write {path}: {error.strerror}; check the folder and run again")


def _clear(plan: DumpPlan) -> None:
    """Remove what earlier runs wrote, and nothing else, for `--overwrite`."""
    if plan.shard.count > 1:
        raise ConfigError("--overwrite would delete the results of other shards; run it without --shard")
    entries = read_manifest(plan.folder)
    for entry in entries.values():
        if entry.file is not None:
            _remove(plan.folder, entry.file)
    shards = [shard.path for shard in sealed_shards(plan.folder)]
    for path in [*shards, *manifests(plan.folder), plan.folder / SETTINGS, plan.folder / f"_{SETTINGS}"]:
        path.unlink(missing_ok=True)


def _remove(folder: Path, file: str) -> None:
    path = folder / file
    if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
        path.unlink()
        if path.suffix == ".npy":
            sidecar_of(path).unlink(missing_ok=True)


def _filled(labels: Mapping[str, Label]) -> dict[str, Label]:
    """Without the empty texts that version 0.1.0 wrote for empty cells."""
    return {name: value for name, value in labels.items() if value != ""}
