"""Settings of preparing videos for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from marlin_sdk.config import CropFace
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.regions.parsers import check_parser
from marlin_sdk.training.prepare.sources import IdentityRule

__all__ = ["PrepareConfig"]

_MINIMUM = {
    "size_px": 8,
    "patch_px": 1,
    "detect_every": 1,
    "min_frames": 1,
    "min_face_px": 0,
    "segment_frames": 1,
    "quality": 1,
    "seed": 0,
}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Settings of prepared data; all data in a folder have the same.

    Attributes:
        size_px: side of the crops.
        patch_px: side of the cells of the region maps.
        detector: as in `Marlin`.
        parser: "landmarks", "landmarks68[:FILE]", "segformer[:MODEL]", "precomputed:FOLDER", or "none": without
            regions, which some maskings need and fine-tuning does not.
        crop_face: True detects and crops faces, False uses frames of `size_px` uncropped, "auto" crops unless the video
            already has that size.
        faces: "all" keeps every face with a long enough track, "largest" the most prominent of each video.
        fps: resample by time first; None keeps every frame.
        detect_every: detect faces on every k-th frame, and track them in between.
        min_frames: shorter tracks are discarded; a clip of 16 frames, every second one, spans 31.
        min_face_px: tracks of smaller faces are discarded: side of the square in the source, in pixels.
        segment_frames: longer tracks are split into samples of this many frames, the last one longer by less than
            `min_frames`.
        quality: of WebP, 1 to 100.
        identity: "source" treats each video as a different person, "folder" the videos of a folder as the same person;
            "auto" uses NAME for YouTube Faces, and "source" for all others.
        val_share: fraction of identities that are held out; 0 holds out none.
        seed: of the split.

    Raises:
        ConfigError: a value outside the ranges above.
    """

    size_px: int = 224
    patch_px: int = 16
    detector: str = "yunet"
    parser: str = "landmarks"
    crop_face: CropFace = "auto"
    faces: Literal["all", "largest"] = "all"
    fps: float | None = None
    detect_every: int = 4
    min_frames: int = 31
    min_face_px: int = 48
    segment_frames: int = 240
    quality: int = 95
    identity: IdentityRule = "auto"
    val_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUM.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
                raise ConfigError(f"{name} is {value!r}; expected an integer of at least {minimum}")
        if self.size_px % self.patch_px:
            raise ConfigError(f"size_px = {self.size_px} is not a multiple of patch_px = {self.patch_px}")
        if self.quality > 100:
            raise ConfigError(f"quality is {self.quality}; expected 1 to 100")
        if self.crop_face not in (True, False, "auto") or self.faces not in ("all", "largest"):
            raise ConfigError(
                f"crop_face is {self.crop_face!r} and faces {self.faces!r}; expected True, False or 'auto', and 'all' "
                "or 'largest'"
            )
        if self.identity not in get_args(IdentityRule):
            raise ConfigError(f"identity is {self.identity!r}; expected one of {', '.join(get_args(IdentityRule))}")
        if not 0 <= self.val_share < 1:
            raise ConfigError(f"val_share is {self.val_share!r}; expected a number of at least 0 and less than 1")
        if self.fps is not None and not self.fps > 0:
            raise ConfigError(f"fps is {self.fps!r}; expected a positive number of frames a second")
        check_parser(self.parser)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrepareConfig:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown key.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise ConfigError(f"settings of prepared data have unknown keys {sorted(unknown)}")
        return cls(**values)
