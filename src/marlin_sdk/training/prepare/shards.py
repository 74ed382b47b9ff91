"""The files of prepared faces: tars of WebP crops and region maps, each with an index beside it.

A sample is a segment of one face track: `KEY.json` (who and when), `KEY.regions.npy` (uint8 (T, h, w), see
`region_bits`) and `KEY.000000.webp` and so on, one for each frame. Programs that read tars, such as webdataset, can
read them sequentially. The index gives the offset of each member, so that training reads only the frames of a clip.
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
    """A segment of one face track, and its position in its shard.

    Attributes:
        id: of this sample, unique in a folder of data.
        source: the video's path below the folder of videos.
        identity: whose face; never in both splits.
        track: track id of the face in its video.
        first_frame: index of its first source frame.
        offset: of its first byte in the shard.
        sizes: bytes of its members: description, regions, and each frame.
        times_us: presentation time of each frame in its video, in microseconds; empty in data prepared by version 0.1.
    """

    id: str
    source: str
    identity: str
    track: int
    first_frame: int
    offset: int
    sizes: NDArray[np.int64]
    times_us: tuple[int, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of its frames."""
        return len(self.sizes) - 2

    @property
    def num_bytes(self) -> int:
        """Its size in the shard, with headers and padding."""
        return int(_padded(self.sizes).sum())

    def member_offset(self, member: int) -> int:
        """Offset of a member's content in the shard."""
        return self.offset + int(_padded(self.sizes[:member]).sum()) + _BLOCK

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "sizes": self.sizes.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sample:
        """The inverse of `to_dict`."""
        sizes = np.asarray(values["sizes"], dtype=np.int64)
        return cls(**{**values, "sizes": sizes, "times_us": tuple(values.get("times_us", ()))})


@dataclass(frozen=True)
class Shard:
    """A tar of samples, as described by its index.

    Attributes:
        path: of the tar; the index is beside it, with the suffix `.json`.
        split: of all of its samples; None if not assigned yet.
        samples: in their order in the tar.
        num_bytes: of the whole tar.
    """

    path: Path
    split: Split | None
    samples: list[Sample]
    num_bytes: int

    def check_size(self) -> None:
        """Check that the tar has the size with which it was written.

        Raises:
            VideoDecodeError: it is missing, or truncated.
        """
        size = self.path.stat().st_size if self.path.is_file() else None
        if size != self.num_bytes:
            fault = "does not exist" if size is None else f"is truncated: {size} bytes of {self.num_bytes}"
            raise VideoDecodeError(
                f"shard {self.path} {fault}; copy it again, or run marlin-sdk prepare again with the same settings, "
                "which recreates missing data"
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
        description: the fields of its `Sample`, except offset and sizes.
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
    """Write the end of a tar after its last sample, and return its size."""
    file.write(_END)
    return file.tell()


def write_index(shard: Shard) -> None:
    """Write the index that `read_shard` reads, atomically; written last, it marks the tar as complete."""
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
        path: of the new tar.
        split: of all samples.
        shards: in order; content of their tars that belongs to no sample is not copied.
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
        VideoDecodeError: it is not an index, or one of another version.
    """
    try:
        values = json.loads(index.read_text())
        if values["format"] != _FORMAT:
            raise VideoDecodeError(
                f"{index} has format {values['format']}; this version reads {_FORMAT}: prepare the data again"
            )
        samples = [Sample.from_dict(sample) for sample in values["samples"]]
        shard = Shard(index.with_suffix(".tar"), values["split"], samples, int(values["num_bytes"]))
        if shard.split not in (None, *get_args(Split)) or not all(_is_valid(sample, shard) for sample in samples):
            raise ValueError("invalid sample or split")
        return shard
    except VideoDecodeError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise VideoDecodeError(f"{index} is not the index of a shard: {error!r}; prepare the data again") from error


def _is_valid(sample: Sample, shard: Shard) -> bool:
    texts, numbers = (sample.id, sample.source, sample.identity), (sample.track, sample.first_frame, sample.offset)
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
        and sample.sizes.ndim == 1
        and sample.num_frames > 0
        and len(sample.times_us) in (0, sample.num_frames)
        and all(isinstance(time, int) for time in sample.times_us)
        and 0 < int(sample.sizes.min()) <= int(sample.sizes.max()) <= shard.num_bytes
        and sample.offset + sample.num_bytes <= shard.num_bytes
    )


def read_regions(shard: Shard, sample: Sample) -> NDArray[np.uint8]:
    """The regions of a sample, uint8 (T, h, w).

    Raises:
        VideoDecodeError: the shard is truncated or damaged there.
    """
    content = _read(shard, sample, sample.member_offset(1), int(sample.sizes[1]))
    try:
        regions: NDArray[np.uint8] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:  # MemoryError: a header with a huge size
        raise _damaged(shard, sample, "its regions") from error
    if regions.dtype != np.uint8 or regions.ndim != 3 or len(regions) != sample.num_frames:
        raise _damaged(shard, sample, "its regions")
    return regions


def read_clip(shard: Shard, sample: Sample, frames: Sequence[int]) -> NDArray[np.uint8]:
    """Read some frames of a sample with one access, and decode them.

    Args:
        shard: of the sample.
        sample: the sample.
        frames: their indices in the sample, ascending.
    Returns:
        uint8 (T, S, S, 3), RGB.
    Raises:
        VideoDecodeError: the shard is truncated or damaged there.
    """
    import cv2

    offsets = [sample.member_offset(2 + frame) for frame in frames]
    sizes = [int(sample.sizes[2 + frame]) for frame in frames]
    content = _read(shard, sample, offsets[0], offsets[-1] + sizes[-1] - offsets[0])
    decoded: list[NDArray[np.uint8]] = []
    for frame, offset, size in zip(frames, offsets, sizes, strict=True):
        encoded = np.frombuffer(content, dtype=np.uint8, count=size, offset=offset - offsets[0])
        bgr: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if bgr is None or (decoded and bgr.shape != decoded[0].shape):
            raise _damaged(shard, sample, f"frame {frame}")
        decoded.append(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
    return np.stack(decoded)


def _read(shard: Shard, sample: Sample, offset: int, size: int) -> bytes:
    try:
        with shard.path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise VideoDecodeError(f"shard {shard.path} cannot be read: {error.strerror}") from error
    if len(content) != size:
        shard.check_size()
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
    """A member name for a tar: short, alphanumeric, without dots, at which webdataset splits names."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', sample_id).strip('-')[-40:]}-{sha256(sample_id.encode()).hexdigest()[:8]}"
