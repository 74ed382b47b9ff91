"""The files of prepared faces: tars of WebP crops and region maps, each with an index beside it.

A sample is a stretch of one face: `KEY.json` (who and when), `KEY.regions.npy` (uint8 (T, h, w), see `region_bits`) and
`KEY.000000.webp` and so on, one for each frame. Any program that reads tars, webdataset too, can take them in turn. The
index says where each member lies, so that a training job reads the sixteen frames it wants and no others.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.training.prepare.split import Split

__all__ = [
    "Sample",
    "Shard",
    "end_tar",
    "join_shards",
    "read_clip",
    "read_regions",
    "read_shard",
    "write_index",
    "write_sample",
]

_FORMAT = 1
_BLOCK = tarfile.BLOCKSIZE
_END = b"\0" * 2 * _BLOCK


@dataclass(frozen=True)
class Sample:
    """A stretch of one face, and where it lies in its shard.

    Attributes:
        id: of this sample, unique in a folder of data.
        source: the video's path below the folder of videos.
        identity: whose face; never on both sides of the split.
        track: number of the face in its video.
        first_frame: number of the source frame that it begins with.
        offset: of its first byte in the shard.
        sizes: bytes of its members: description, regions, and each frame.
    """

    id: str
    source: str
    identity: str
    track: int
    first_frame: int
    offset: int
    sizes: NDArray[np.int64]

    @property
    def num_frames(self) -> int:
        """How many frames it has."""
        return len(self.sizes) - 2

    @property
    def num_bytes(self) -> int:
        """What it takes in its shard, headers and padding too."""
        return int(_padded(self.sizes).sum())

    def place(self, member: int) -> int:
        """Where the content of a member begins in the shard."""
        return self.offset + int(_padded(self.sizes[:member]).sum()) + _BLOCK

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "sizes": self.sizes.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sample:
        """The reverse of `to_dict`."""
        return cls(**{**values, "sizes": np.asarray(values["sizes"], dtype=np.int64)})


@dataclass(frozen=True)
class Shard:
    """A tar of samples, as its index describes it.

    Attributes:
        path: of the tar; the index is beside it, with the suffix `.json`.
        split: the side that all of its samples are on; None where that is not decided yet.
        samples: in the order in which they lie.
        num_bytes: of the whole tar.
    """

    path: Path
    split: Split | None
    samples: list[Sample]
    num_bytes: int

    def check_whole(self) -> None:
        """See that the tar is as long as it was written.

        Raises:
            VideoDecodeError: it is gone, or cut off.
        """
        size = self.path.stat().st_size if self.path.is_file() else None
        if size != self.num_bytes:
            fault = "is not there" if size is None else f"is cut off: {size} bytes of {self.num_bytes}"
            raise VideoDecodeError(
                f"shard {self.path} {fault}; copy it anew, or run marlin-sdk prepare again with the same settings: it "
                "makes up for what is missing"
            )


def write_sample(
    file: BinaryIO,
    description: dict[str, Any],
    regions: NDArray[np.uint8],
    frames: Sequence[bytes],
) -> Sample:
    """Append a sample to a tar that is being written.

    Args:
        file: open for writing, at the end of the last sample.
        description: what a `Sample` says of it, but for offset and sizes.
        regions: uint8 (T, h, w).
        frames: T encoded images.
    """
    key = _key(description["id"])
    packed = io.BytesIO()
    np.save(packed, regions, allow_pickle=False)
    members = [
        (f"{key}.json", json.dumps({**description, "num_frames": len(frames)}).encode()),
        (f"{key}.regions.npy", packed.getvalue()),
        *((f"{key}.{index:06d}.webp", frame) for index, frame in enumerate(frames)),
    ]
    offset = file.tell()
    for name, content in members:
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), 0o644
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(content + b"\0" * (-len(content) % _BLOCK))
    return Sample(**description, offset=offset, sizes=np.array([len(content) for _, content in members]))


def end_tar(file: BinaryIO) -> int:
    """Write the end of a tar behind its last sample; the bytes it then has."""
    file.write(_END)
    return file.tell()


def write_index(shard: Shard) -> None:
    """Write what `read_shard` reads, whole or not at all; last of all, as the sign that the tar is whole."""
    values = {
        "format": _FORMAT,
        "split": shard.split,
        "num_bytes": shard.num_bytes,
        "samples": [sample.to_dict() for sample in shard.samples],
    }
    with atomic_path(shard.path.with_suffix(".json")) as part:
        part.write_text(json.dumps(values))


def join_shards(path: Path, split: Split, shards: Iterable[Shard]) -> Shard:
    """Copy the samples of several shards into one, tar and index.

    Args:
        path: of the tar to make.
        split: its side.
        shards: in order; what of their tars no sample names is left behind.
    """
    samples: list[Sample] = []
    with atomic_path(path) as part, part.open("wb") as file:
        for shard in shards:
            with shard.path.open("rb") as source:
                for sample in shard.samples:
                    source.seek(sample.offset)
                    samples.append(Sample(**{**vars(sample), "offset": file.tell()}))
                    file.write(source.read(sample.num_bytes))
        num_bytes = end_tar(file)
    joined = Shard(path, split, samples, num_bytes)
    write_index(joined)
    return joined


def read_shard(index: Path) -> Shard:
    """Read the index of a shard.

    Args:
        index: the `.json` file.
    Raises:
        VideoDecodeError: it is no index, or one of another version.
    """
    try:
        values = json.loads(index.read_text())
        if values["format"] != _FORMAT:
            raise VideoDecodeError(
                f"{index} has format {values['format']}; this version reads {_FORMAT}: prepare the data anew"
            )
        samples = [Sample.from_dict(sample) for sample in values["samples"]]
        shard = Shard(index.with_suffix(".tar"), values["split"], samples, int(values["num_bytes"]))
        if shard.split not in (None, *get_args(Split)) or not all(_lies_in(shard, sample) for sample in samples):
            raise ValueError("a sample or a split that cannot be")
        return shard
    except VideoDecodeError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise VideoDecodeError(f"{index} is no index of a shard: {error!r}; prepare the data anew") from error


def _lies_in(shard: Shard, sample: Sample) -> bool:
    texts, numbers = (sample.id, sample.source, sample.identity), (sample.track, sample.first_frame, sample.offset)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
        and sample.sizes.ndim == 1
        and sample.num_frames > 0
        and 0 < int(sample.sizes.min()) <= int(sample.sizes.max()) <= shard.num_bytes
        and sample.offset + sample.num_bytes <= shard.num_bytes
    )


def read_regions(shard: Shard, sample: Sample) -> NDArray[np.uint8]:
    """The regions of a sample, uint8 (T, h, w).

    Raises:
        VideoDecodeError: the shard is cut off or damaged there.
    """
    content = _read(shard, sample, sample.place(1), int(sample.sizes[1]))
    try:
        regions: NDArray[np.uint8] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:  # the last: a header that claims too much
        raise _damaged(shard, sample, "its regions") from error
    if regions.dtype != np.uint8 or regions.ndim != 3 or len(regions) != sample.num_frames:
        raise _damaged(shard, sample, "its regions")
    return regions


def read_clip(shard: Shard, sample: Sample, frames: Sequence[int]) -> NDArray[np.uint8]:
    """Some frames of a sample, read at once and decoded.

    Args:
        shard: where it lies.
        sample: which.
        frames: their numbers in the sample, ascending.
    Returns:
        uint8 (T, S, S, 3), RGB.
    Raises:
        VideoDecodeError: the shard is cut off or damaged there.
    """
    import cv2

    places = [sample.place(2 + frame) for frame in frames]
    sizes = [int(sample.sizes[2 + frame]) for frame in frames]
    content = _read(shard, sample, places[0], places[-1] + sizes[-1] - places[0])
    decoded: list[NDArray[np.uint8]] = []
    for frame, place, size in zip(frames, places, sizes, strict=True):
        begin = place - places[0]
        bgr: Any = cv2.imdecode(np.frombuffer(content, dtype=np.uint8, count=size, offset=begin), cv2.IMREAD_COLOR)
        if bgr is None or (decoded and bgr.shape != decoded[0].shape):
            raise _damaged(shard, sample, f"frame {frame}")
        decoded.append(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
    return np.stack(decoded)


def _read(shard: Shard, sample: Sample, place: int, size: int) -> bytes:
    try:
        with shard.path.open("rb") as file:
            file.seek(place)
            content = file.read(size)
    except OSError as error:
        raise VideoDecodeError(f"shard {shard.path} cannot be read: {error.strerror}") from error
    if len(content) != size:
        shard.check_whole()
        raise _damaged(shard, sample, "its end")
    return content


def _damaged(shard: Shard, sample: Sample, what: str) -> VideoDecodeError:
    return VideoDecodeError(
        f"shard {shard.path} is damaged: {what} of sample {sample.id!r} cannot be decoded; delete the shard and run "
        "marlin-sdk prepare again with the same settings"
    )


def _padded(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return _BLOCK + -(-sizes // _BLOCK) * _BLOCK


def _key(sample_id: str) -> str:
    """A name for members of a tar: short, of plain letters, without the dots at which webdataset cuts."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', sample_id).strip('-')[-40:]}-{sha256(sample_id.encode()).hexdigest()[:8]}"
