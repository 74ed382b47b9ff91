"""Settings of cutting a video into clips and embedding them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from operator import index
from typing import Any, Literal, TypedDict, get_args

from marlin_sdk.errors import ConfigError

__all__ = [
    "REGION_POOLS",
    "Compat",
    "CropFace",
    "ExtractionConfig",
    "ExtractionSettings",
    "Faces",
    "Pool",
    "Reduction",
    "Tail",
    "as_integer",
]

Pool = Literal["mean", "time", "regions"]
Reduction = Literal["none", "mean", "max"]
Tail = Literal["pad", "drop"]
Faces = Literal["largest", "all", "left", "right"]
CropFace = Literal["auto"] | bool
Compat = Literal["marlin_pytorch"]
_MAX_DETECT_EVERY = 32

REGION_POOLS = ("eyes", "nose", "mouth", "skin")
"""The vectors of `pool="regions"`, in order. Skin is the rest of the face: forehead, cheeks, chin."""


class ExtractionSettings(TypedDict, total=False):
    """The keyword arguments of `Marlin.extract_video`, `extract` and `stream`: see `ExtractionConfig`."""

    crop_face: CropFace
    faces: Faces
    sample_rate: int
    fps: float | None
    stride: int
    tail: Tail
    detect_every: int
    smooth: bool
    identify: bool
    reduction: Reduction
    pool: Pool
    keep_seq: bool
    batch_size: int
    compat: Compat | None
    source_fps: float | None
    start_s: float | None
    end_s: float | None
    track: int | None


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How a video is cut into clips and embedded.

    Attributes:
        crop_face: True detects and crops faces; False uses the frames uncropped (they must have the model's size,
            224x224); "auto" crops unless the video already has that size.
        faces: "largest" embeds the most prominent face of each window, "left" and "right" the outermost one on that
            side of the picture, "all" gives a row for each face.
        sample_rate: source frames from one step of a clip to the next; 2 in the published model.
        fps: steps a second instead of `sample_rate`: the source is resampled by time (nearest frame).
        stride: steps from one window to the next; 16 means no overlap.
        tail: "pad" keeps the last partial window and repeats its last frame; "drop" discards it.
        detect_every: detect faces on every k-th sampled frame, and track them in between; 1 detects on each. At most
            32: about 3 * k + 8 frames are held in memory until their faces are final.
        smooth: median-smooth each track's centre and size. `detect_every=1, smooth=False` crops exactly the boxes of
            the detector.
        identify: give each track a person, the same for all tracks that show one face: across cuts, and when it is
            back after an absence. The model's `recogniser` compares the faces.
        reduction: "none" gives a row for each window, "mean" and "max" one vector for the video.
        pool: "mean" gives one vector for a window, as published; "time" one for each two of its frames, (8, D), see
            `VideoFeatures.by_time`; "regions" one each for eyes, nose, mouth and skin, (4, D), by the landmarks of the
            detector.
        keep_seq: return the tokens of a window, (1568, D), instead of their pooled vector.
        batch_size: clips embedded at once; halved automatically if a GPU runs out of memory.
        compat: "marlin_pytorch" reproduces the windows, boxes and rounding of that package (0.3.4), bugs included.
        source_fps: frames a second of a source without a clock of its own (an array, a folder of images); if not
            given, 25 is assumed, with a warning in the result.
        start_s: use only frames shown from here on, in seconds from the start of the file; windows begin here. The file
            is still decoded from its start, so that frame numbers are exact.
        end_s: use only frames shown before.
        track: embed only the face with this `track_id`, as numbered by a run with `faces="all"` over the same part.

    Raises:
        ConfigError: a value outside the ranges above, or settings that contradict each other.
    """

    crop_face: CropFace = "auto"
    faces: Faces = "largest"
    sample_rate: int = 2
    fps: float | None = None
    stride: int = 16
    tail: Tail = "pad"
    detect_every: int = 4
    smooth: bool = True
    identify: bool = False
    reduction: Reduction = "none"
    pool: Pool = "mean"
    keep_seq: bool = False
    batch_size: int = 8
    compat: Compat | None = None
    source_fps: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "stride", "detect_every", "batch_size"):
            object.__setattr__(self, name, self._integer(name, 1))
        if self.detect_every > _MAX_DETECT_EVERY:
            raise ConfigError(
                f"detect_every is {self.detect_every}; expected at most {_MAX_DETECT_EVERY}: the frames of two "
                "detection intervals wait in memory"
            )
        for name, choices in _CHOICES.items():
            if not any(_same(getattr(self, name), choice) for choice in choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {list(choices)}")
        for name in ("fps", "source_fps"):
            rate = getattr(self, name)
            number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
            if rate is not None and not (number and 0 < rate <= 1000):
                raise ConfigError(f"{name} is {rate!r}; expected frames a second, an int or float in (0, 1000]")
        if self.fps is not None and self.sample_rate != 2:
            raise ConfigError("fps and sample_rate both set the sampling rate; pass only one of them")
        if self.keep_seq and self.reduction != "none":
            raise ConfigError(
                f"keep_seq=True returns every token, reduction={self.reduction!r} one vector; pass only one of them"
            )
        if self.keep_seq and self.pool != "mean":
            raise ConfigError(
                f"keep_seq=True returns every token, pool={self.pool!r} means over them; pass only one of them"
            )
        if self.faces == "all" and self.reduction != "none":
            raise ConfigError(
                f"reduction={self.reduction!r} would mix several faces into one vector; use faces='largest'"
            )
        if self.identify and self.crop_face is False:
            raise ConfigError(
                "identify=True compares the faces that crop_face=False does not look for; omit one of them"
            )
        self._check_selection()
        if self.compat:
            self._check_compat()

    def _check_selection(self) -> None:
        for name in ("start_s", "end_s"):
            time_s = getattr(self, name)
            number = isinstance(time_s, (int, float)) and not isinstance(time_s, bool)
            if time_s is not None and not (number and 0 <= time_s < float("inf")):
                raise ConfigError(f"{name} is {time_s!r}; expected seconds from the start of the video, at least 0")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ConfigError(f"end_s = {self.end_s} is not after start_s = {self.start_s or 0}")
        if self.track is not None:
            object.__setattr__(self, "track", self._integer("track", 0, "the track_id of a face, "))

    def _integer(self, name: str, minimum: int, what: str = "") -> int:
        number = as_integer(getattr(self, name))
        if number is None or number < minimum:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {what}an integer of at least {minimum}")
        return number

    def _check_compat(self) -> None:
        default = ExtractionConfig()
        for name in ("faces", "fps", "tail", "detect_every", "smooth", "identify", "track"):
            if getattr(self, name) != getattr(default, name):
                raise ConfigError(
                    f"compat={self.compat!r} fixes {name}, which marlin-pytorch does not have; omit one of them"
                )
        if self.pool == "regions":
            raise ConfigError(
                f"compat={self.compat!r} also embeds frames without a face, where pool='regions' has no landmarks; use "
                "another pool, or omit compat"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return asdict(self)


def as_integer(value: object) -> int | None:
    """An integer of any type (NumPy's too) as an int; None for anything else: a bool, a float, a string."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _same(value: object, choice: object) -> bool:
    """Equal and of the same type: 1 == True, but 1 is not accepted for True."""
    return type(value) is type(choice) and value == choice


_CHOICES: dict[str, tuple[Any, ...]] = {
    "crop_face": ("auto", True, False),
    "faces": get_args(Faces),
    "tail": get_args(Tail),
    "reduction": get_args(Reduction),
    "pool": get_args(Pool),
    "compat": (None, *get_args(Compat)),
    "smooth": (True, False),
    "identify": (True, False),
    "keep_seq": (True, False),
}
