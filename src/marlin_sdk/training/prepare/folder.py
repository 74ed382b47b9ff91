"""A folder of prepared faces: its settings, its shards, and the outcome of each video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast, get_args

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.shards import Shard, join_shards, read_shard
from marlin_sdk.training.prepare.split import Split, check_disjoint

__all__ = ["DataFolder", "Outcome", "Status", "pack"]

_SPLIT_SETTINGS = ("val_share", "seed")
Status = Literal["done", "no_face", "left_out", "broken"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one video: a line of the manifest.

    Attributes:
        source: its id.
        status: "done"; "no_face"; "left_out", every face too small or its track too short; "broken".
        reason: why it gave no samples.
        stamp: of the file, to detect changes.
        identity: whose face.
        samples: number of samples.
        frames: number of frames in them.
        left_out: faces that were too small or their tracks too short.
        warnings: problems that did not stop the reading.
    """

    source: str
    status: Status
    reason: str = ""
    stamp: str = ""
    identity: str = ""
    samples: int = 0
    frames: int = 0
    left_out: int = 0
    warnings: tuple[str, ...] = ()


class DataFolder:
    """A folder of prepared faces.

    `dataset.json` holds the settings, `manifest.jsonl` a line for each video that was tried (the last one counts),
    `split.json` the split of each identity, `shards/` the shards of each split, and `parts/`, until they are packed, a
    small shard for each video.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self) -> PrepareConfig:
        """The settings of the prepared data.

        Raises:
            ConfigError: there is no prepared data, or it is of another version.
        """
        file = self.path / "dataset.json"
        if not file.is_file():
            raise ConfigError(
                f"{self.path} holds no prepared data; create it with marlin-sdk prepare VIDEOS -o {self.path}"
            )
        try:
            return PrepareConfig.from_dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}; prepare the data again") from error

    def claim(self, config: PrepareConfig) -> None:
        """Write the settings, or check that they are those of the existing data.

        Raises:
            ConfigError: they differ.
            OSError: the folder cannot be written.
        """
        if (self.path / "dataset.json").is_file():
            old, new = self.settings().to_dict(), config.to_dict()
            if not self.shards():  # the split is not drawn yet
                old |= {key: new[key] for key in _SPLIT_SETTINGS}
            if changed := [f"{key} = {old[key]!r}, not {new[key]!r}" for key in new if old[key] != new[key]]:
                raise ConfigError(
                    f"{self.path} was prepared with {', '.join(changed)}; use these settings, or another folder"
                )
        with atomic_path(self.path / "dataset.json") as part:
            part.write_text(json.dumps(config.to_dict(), indent=1) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder against other runs of `prepare`.

        Raises:
            ConfigError: another one is running.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise ConfigError(f"another marlin-sdk prepare is running in {self.path}; wait for it to end") from error

    def splits(self) -> dict[str, Split]:
        """The split of each identity that has one.

        Raises:
            ConfigError: an identity also has shards in the other split, or the file cannot be read.
        """
        file = self.path / "split.json"
        splits = _read_splits(file) if file.is_file() else {}
        listed = [(name, split, str(file)) for name, split in splits.items()]
        packed = [(one.identity, str(shard.split), str(shard.path)) for shard in self.shards() for one in shard.samples]
        check_disjoint([*listed, *packed])
        return {**{name: cast(Split, split) for name, split, _ in packed}, **splits}

    def save_splits(self, splits: dict[str, Split]) -> None:
        """Write the split of each identity."""
        with atomic_path(self.path / "split.json") as part:
            part.write_text(json.dumps(dict(sorted(splits.items())), indent=1) + "\n")

    def shards(self) -> list[Shard]:
        """The finished shards, in order."""
        return [read_shard(index) for index in sorted((self.path / "shards").glob("*.json"))]

    def part(self, source: str) -> Path:
        """The path of one video's tar until it is packed with others."""
        return self.path / "parts" / f"{sha256(source.encode()).hexdigest()[:24]}.tar"

    def drop_broken(self) -> list[str]:
        """Remove truncated shards and parts, and incomplete files of an earlier run; return a note for each shard."""
        notes = []
        for shard in self.shards():
            size = shard.path.stat().st_size if shard.path.is_file() else 0
            if size != shard.num_bytes:
                sources = len({sample.source for sample in shard.samples})
                notes.append(
                    f"{shard.path.name} has {size} bytes of {shard.num_bytes}; its {sources} videos are prepared again"
                )
                shard.path.with_suffix(".json").unlink()
                shard.path.unlink(missing_ok=True)
        for folder in (self.path / "shards", self.path / "parts"):
            for tar in folder.glob("*.tar"):
                if not tar.with_suffix(".json").is_file():  # stopped between tar and index; hidden ones are incomplete
                    tar.unlink()
            for partial_file in folder.glob(".*.part.*"):
                partial_file.unlink()
        packed = {sample.source for shard in self.shards() for sample in shard.samples}
        for index in (self.path / "parts").glob("*.json"):
            shard = read_shard(index)
            complete = shard.path.is_file() and shard.path.stat().st_size == shard.num_bytes
            if not complete or {sample.source for sample in shard.samples} <= packed:
                index.unlink()
                shard.path.unlink(missing_ok=True)
        return notes

    def outcomes(self) -> dict[str, Outcome]:
        """The last line of the manifest for each video; truncated lines are ignored."""
        known = {field.name for field in fields(Outcome)}
        last: dict[str, Outcome] = {}
        file = self.path / "manifest.jsonl"
        for line in file.read_text().splitlines() if file.is_file() else []:
            try:
                values: dict[str, Any] = json.loads(line)
                outcome = Outcome(**{**values, "warnings": tuple(values.get("warnings", ()))})
            except (ValueError, TypeError, AttributeError):
                continue
            if set(values) <= known:
                last[outcome.source] = outcome
        return last

    def record(self, outcome: Outcome) -> None:
        """Append a line to the manifest."""
        file = self.path / "manifest.jsonl"
        with file.open("a+b") as out:
            if out.tell():
                out.seek(-1, os.SEEK_END)
                if out.read(1) != b"\n":
                    out.write(b"\n")
            out.write(json.dumps(asdict(outcome)).encode() + b"\n")


def _read_splits(file: Path) -> dict[str, Split]:
    try:
        splits: Any = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}; delete it, and the split is taken from the shards"
        ) from error
    if not isinstance(splits, dict) or not all(split in get_args(Split) for split in splits.values()):
        raise ConfigError(
            f"{file} does not map identities to train or val; delete it, and the split is taken from the shards"
        )
    return splits


def pack(folder: DataFolder, parts: Iterable[Shard], splits: Mapping[str, Split], shard_bytes: int) -> None:
    """Join the parts of videos into larger shards, in their order, and remove them.

    Args:
        folder: of the data.
        parts: each of one identity.
        splits: of each identity.
        shard_bytes: size at which a shard is closed.
    """
    pending: dict[Split, list[Shard]] = {"train": [], "val": []}
    for part in parts:
        split = splits[part.samples[0].identity]
        pending[split].append(part)
        if sum(sample.num_bytes for one in pending[split] for sample in one.samples) >= shard_bytes:
            _write_shard(folder, split, pending[split])
    for split, remaining in pending.items():
        _write_shard(folder, split, remaining)


def _write_shard(folder: DataFolder, split: Split, parts: list[Shard]) -> None:
    if not parts:
        return
    shards = folder.path / "shards"
    used = [int(path.stem.rpartition("-")[2]) for path in shards.glob(f"{split}-*.tar")]
    join_shards(shards / f"{split}-{max(used, default=-1) + 1:06d}.tar", split, parts)
    for part in parts:
        part.path.with_suffix(".json").unlink()
        part.path.unlink()
    parts.clear()
