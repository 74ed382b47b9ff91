"""A folder of prepared faces: its settings, its shards, and what became of each video."""

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
    """What became of one video: a line of the manifest.

    Attributes:
        source: its id.
        status: "done"; "no_face"; "left_out", every face too small or too short; "broken".
        reason: why it gave nothing.
        stamp: of the file, to tell when it changes.
        identity: whose face.
        samples: stretches of faces that it gave.
        frames: in these.
        left_out: faces that were too small or too short.
        warnings: what went wrong without ending it.
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
    `split.json` the side of each identity, `shards/` the shards of each side, and `parts/`, while there is work to do,
    a small shard for each video.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self) -> PrepareConfig:
        """The settings that the data were prepared with.

        Raises:
            ConfigError: there are no prepared data, or of another version.
        """
        file = self.path / "dataset.json"
        if not file.is_file():
            raise ConfigError(
                f"{self.path} holds no prepared data; marlin-sdk prepare VIDEOS -o {self.path} makes them"
            )
        try:
            return PrepareConfig.from_dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}; prepare the data anew") from error

    def claim(self, config: PrepareConfig) -> None:
        """Write the settings, or see that they are those of the data that are here.

        Raises:
            ConfigError: they differ.
            OSError: the folder cannot be written.
        """
        if (self.path / "dataset.json").is_file():
            here, asked = self.settings().to_dict(), config.to_dict()
            if not self.shards():  # the split is not drawn yet
                here |= {key: asked[key] for key in _SPLIT_SETTINGS}
            if changed := [f"{key} = {here[key]!r}, not {asked[key]!r}" for key in asked if here[key] != asked[key]]:
                raise ConfigError(
                    f"{self.path} was prepared with {', '.join(changed)}; use these settings, or another folder"
                )
        with atomic_path(self.path / "dataset.json") as part:
            part.write_text(json.dumps(config.to_dict(), indent=1) + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other preparations out.

        Raises:
            ConfigError: another is at work.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise ConfigError(f"another marlin-sdk prepare is at work in {self.path}; wait for it to end") from error

    def sides(self) -> dict[str, Split]:
        """The side of each identity that has one.

        Raises:
            ConfigError: an identity has shards on another side too, or the file cannot be read.
        """
        file = self.path / "split.json"
        sides = _read_sides(file) if file.is_file() else {}
        here = [(name, side, str(file)) for name, side in sides.items()]
        packed = [(one.identity, str(shard.split), str(shard.path)) for shard in self.shards() for one in shard.samples]
        check_disjoint([*here, *packed])
        return {**{name: cast(Split, side) for name, side, _ in packed}, **sides}

    def fix_sides(self, sides: dict[str, Split]) -> None:
        """Write the side of each identity, for good."""
        with atomic_path(self.path / "split.json") as part:
            part.write_text(json.dumps(dict(sorted(sides.items())), indent=1) + "\n")

    def shards(self) -> list[Shard]:
        """The finished shards, in order."""
        return [read_shard(index) for index in sorted((self.path / "shards").glob("*.json"))]

    def part(self, source: str) -> Path:
        """Where the tar of one video lies until it is joined with others."""
        return self.path / "parts" / f"{sha256(source.encode()).hexdigest()[:24]}.tar"

    def drop_broken(self) -> list[str]:
        """Remove shards and parts that are not whole, and what an earlier run left half done; a note for each shard."""
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
                if not tar.with_suffix(".json").is_file():  # stopped between tar and index; hidden ones half written
                    tar.unlink()
            for rest in folder.glob(".*.part.*"):
                rest.unlink()
        packed = {sample.source for shard in self.shards() for sample in shard.samples}
        for index in (self.path / "parts").glob("*.json"):
            shard = read_shard(index)
            whole = shard.path.is_file() and shard.path.stat().st_size == shard.num_bytes
            if not whole or {sample.source for sample in shard.samples} <= packed:
                index.unlink()
                shard.path.unlink(missing_ok=True)
        return notes

    def outcomes(self) -> dict[str, Outcome]:
        """The last line of the manifest for each video; a line that was cut off counts for nothing."""
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


def _read_sides(file: Path) -> dict[str, Split]:
    try:
        sides: Any = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}; delete it, and the sides are those of the shards"
        ) from error
    if not isinstance(sides, dict) or not all(side in get_args(Split) for side in sides.values()):
        raise ConfigError(f"{file} holds no sides of identities; delete it, and the sides are those of the shards")
    return sides


def pack(folder: DataFolder, parts: Iterable[Shard], sides: Mapping[str, Split], shard_bytes: int) -> None:
    """Join the parts of videos to shards of a good size, in the order in which they come, and remove them.

    Args:
        folder: of the data.
        parts: each of one identity.
        sides: of each identity.
        shard_bytes: a shard is closed when it has so many.
    """
    waiting: dict[Split, list[Shard]] = {"train": [], "val": []}
    for part in parts:
        side = sides[part.samples[0].identity]
        waiting[side].append(part)
        if sum(sample.num_bytes for one in waiting[side] for sample in one.samples) >= shard_bytes:
            _close(folder, side, waiting[side])
    for side, rest in waiting.items():
        _close(folder, side, rest)


def _close(folder: DataFolder, side: Split, parts: list[Shard]) -> None:
    if not parts:
        return
    shards = folder.path / "shards"
    taken = [int(path.stem.rpartition("-")[2]) for path in shards.glob(f"{side}-*.tar")]
    join_shards(shards / f"{side}-{max(taken, default=-1) + 1:06d}.tar", side, parts)
    for part in parts:
        part.path.with_suffix(".json").unlink()
        part.path.unlink()
    parts.clear()
