"""How a video is cut into clips and embedded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from operator import index
from typing import Any, Literal, TypedDict, get_args

from marlin_sdk.errors import ConfigError

__all__ = [
    "Compat",
    "CropFace",
    "ExtractionConfig",
    "ExtractionSettings",
    "Faces",
    "Reduction",
    "Tail",
    "whole_number",
]

Reduction = Literal["none", "mean", "max"]
Tail = Literal["pad", "drop"]
Faces = Literal["largest", "all"]
CropFace = Literal["auto"] | bool
Compat = Literal["marlin_pytorch"]
_MAX_DETECT_EVERY = 32


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
    reduction: Reduction
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
        crop_face: True finds and crops faces; False takes frames as they are (they must have the model's size,
            224x224); "auto" crops unless the video already has that size.
        faces: "largest" embeds the most prominent face of each window, "all" gives a row for each face.
        sample_rate: source frames from one step of a clip to the next; 2 in the published model.
        fps: steps a second instead of `sample_rate`: the source is resampled by time (nearest frame).
        stride: steps from one window to the next; 16 leaves no overlap.
        tail: "pad" keeps the last partial window and repeats its last frame; "drop" leaves it out.
        detect_every: look for faces on every k-th sampled frame, and track in between; 1 looks at each. At most 32:
            some 3 * k + 8 frames wait in memory for the looks that settle where their faces are.
        smooth: median-smooth each track's centre and size. `detect_every=1, smooth=False` crops exactly what the
            detector saw.
        reduction: "none" gives a row for each window, "mean" and "max" one vector for the video.
        keep_seq: keep the tokens of a window, (1568, D), instead of their pooled vector.
        batch_size: clips embedded at once; halved by itself when a GPU runs out of memory.
        compat: "marlin_pytorch" gives the windows, boxes and rounding of that package (0.3.4), faults included.
        source_fps: frames a second of a source that has no clock of its own (an array, a folder of images);
            25 is assumed, with a warning in the result, where it is not given.
        start_s: take only what is shown from here on, in seconds from the start of the file; windows begin here. The
            file is decoded from its start all the same, so that frame numbers are exact.
        end_s: take only what is shown before.
        track: embed only the face with this `track_id`, as a run with `faces="all"` over the same part numbered it.

    Raises:
        ConfigError: a value outside what is said above, or settings that contradict each other.
    """

    crop_face: CropFace = "auto"
    faces: Faces = "largest"
    sample_rate: int = 2
    fps: float | None = None
    stride: int = 16
    tail: Tail = "pad"
    detect_every: int = 4
    smooth: bool = True
    reduction: Reduction = "none"
    keep_seq: bool = False
    batch_size: int = 8
    compat: Compat | None = None
    source_fps: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "stride", "detect_every", "batch_size"):
            object.__setattr__(self, name, self._whole(name, 1))
        if self.detect_every > _MAX_DETECT_EVERY:
            raise ConfigError(
                f"detect_every is {self.detect_every}; expected at most {_MAX_DETECT_EVERY}: all frames from one look "
                "to the next but one wait in memory"
            )
        for name, choices in _CHOICES.items():
            if not any(_same(getattr(self, name), choice) for choice in choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {list(choices)}")
        for name in ("smooth", "keep_seq"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected True or False")
        for name in ("fps", "source_fps"):
            rate = getattr(self, name)
            number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
            if rate is not None and not (number and 0 < rate <= 1000):
                raise ConfigError(f"{name} is {rate!r}; expected frames a second, an int or float in (0, 1000]")
        if self.fps is not None and self.sample_rate != 2:
            raise ConfigError("fps and sample_rate are two ways to say the same thing; give one of them")
        if self.keep_seq and self.reduction != "none":
            raise ConfigError(f"keep_seq=True keeps every token, reduction={self.reduction!r} keeps one vector; choose")
        if self.faces == "all" and self.reduction != "none":
            raise ConfigError(
                f"reduction={self.reduction!r} would mix several faces into one vector; use faces='largest'"
            )
        self._check_part()
        if self.compat:
            self._check_compat()

    def _check_part(self) -> None:
        for name in ("start_s", "end_s"):
            time_s = getattr(self, name)
            number = isinstance(time_s, (int, float)) and not isinstance(time_s, bool)
            if time_s is not None and not (number and 0 <= time_s < float("inf")):
                raise ConfigError(f"{name} is {time_s!r}; expected seconds from the start of the video, at least 0")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ConfigError(f"end_s = {self.end_s} does not come after start_s = {self.start_s or 0}")
        if self.track is not None:
            object.__setattr__(self, "track", self._whole("track", 0, "the track_id of a face, "))

    def _whole(self, name: str, least: int, what: str = "") -> int:
        number = whole_number(getattr(self, name))
        if number is None or number < least:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {what}a whole number of at least {least}")
        return number

    def _check_compat(self) -> None:
        plain = ExtractionConfig()
        for name in ("faces", "fps", "tail", "detect_every", "smooth", "track"):
            if getattr(self, name) != getattr(plain, name):
                raise ConfigError(
                    f"compat={self.compat!r} fixes {name}, which marlin-pytorch does not have; leave one out"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return asdict(self)


def whole_number(value: object) -> int | None:
    """A whole number of any kind (NumPy's, too) as an int; None for what is none: a bool, a float, a text."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _same(value: object, choice: object) -> bool:
    """Equal and of one type: 1 == True, but it is no way to say it."""
    return type(value) is type(choice) and value == choice


_CHOICES: dict[str, tuple[Any, ...]] = {
    "crop_face": ("auto", True, False),
    "faces": get_args(Faces),
    "tail": get_args(Tail),
    "reduction": get_args(Reduction),
    "compat": (None, *get_args(Compat)),
}
