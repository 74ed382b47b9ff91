"""How videos are prepared for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from marlin_sdk.config import CropFace
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.regions.parsers import check_parser
from marlin_sdk.training.prepare.sources import IdentityRule

__all__ = ["PrepareConfig"]

_AT_LEAST = {
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
    """What prepared faces look like; one folder of data holds one answer.

    Attributes:
        size_px: side of the crops.
        patch_px: side of the cells that regions are kept for.
        detector: as `Marlin`'s.
        parser: "landmarks", "landmarks68[:FILE]", "segformer[:MODEL]" or "precomputed:FOLDER".
        crop_face: True finds and crops faces, False takes frames of `size_px` as they are, "auto" crops unless the
            video has that size already.
        faces: "all" keeps every face that stays long enough, "largest" the most prominent of each video.
        fps: resample by time first; None keeps every frame.
        detect_every: look for faces on every k-th frame, and track in between.
        min_frames: shorter tracks are left out; a clip of 16 frames, every second one, spans 31.
        min_face_px: tracks of smaller faces are left out: side of the square in the source, in pixels.
        segment_frames: longer tracks are cut into samples of so many frames, the last one longer by less than
            `min_frames`.
        quality: of WebP, 1 to 100.
        identity: "source" takes each video for a person of its own, "folder" those of one folder for one person; "auto"
            takes NAME for YouTube Faces, and "source" for the rest.
        val_share: share of identities that are held out; 0 holds out none.
        seed: of the split.

    Raises:
        ConfigError: a value outside what is said above.
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
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {least}")
        if self.size_px % self.patch_px:
            raise ConfigError(f"size_px = {self.size_px} is no multiple of patch_px = {self.patch_px}")
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
        """Read `to_dict`'s form.

        Raises:
            ConfigError: a key that is not known.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise ConfigError(f"settings of prepared data have unknown keys {sorted(unknown)}")
        return cls(**values)
