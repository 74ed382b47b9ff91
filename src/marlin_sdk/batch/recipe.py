"""The model, detector and settings of a dump, in one picklable object for every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from marlin_sdk.clips.cutter import ClipCutter
from marlin_sdk.clips.identity import features_identity
from marlin_sdk.config import DEFAULT_MODEL, ExtractionConfig, ModelConfig
from marlin_sdk.errors import ConfigError, MarlinError
from marlin_sdk.face.detectors import (
    DETECTORS,
    FaceDetector,
    check_detector,
    check_landmarks,
    load_detector,
)
from marlin_sdk.face.recognition import FaceRecogniser, check_recogniser, load_recogniser
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.runtime import RuntimeName
from marlin_sdk.weights.downloads import SFACE
from marlin_sdk.weights.identity import file_sha256

if TYPE_CHECKING:
    from marlin_sdk.assembly import LoadKeywords
    from marlin_sdk.marlin import Marlin

__all__ = ["LoadOnce", "Recipe"]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model, a detector and extraction settings: all that a process needs to do the work.

    torch is imported only to load the model, so that processes that only cut videos start fast and stay small.

    Attributes:
        model: as in `Marlin.from_pretrained`, or a config for random weights.
        untrained: random weights of that model's size instead (seed 0).
        detector: as in `Marlin.from_pretrained`; an object must be picklable.
        recogniser: as in `Marlin.from_pretrained`; an object must be picklable.
        detector_device: torch device of a detector that runs on torch.
        dtype: of weights and arithmetic.
        runtime: inference backend.
        calibration: videos to calibrate int8 with; if empty, a built-in set.
        revision: branch, tag or commit of a Hub repo.
        cache_dir: folder of downloads.
        local_files_only: do not use the network.
        settings: how videos are cut and embedded.
    """

    model: str | ModelConfig = DEFAULT_MODEL
    untrained: bool = False
    detector: str | Path | FaceDetector = "yunet"
    recogniser: str | Path | FaceRecogniser = "sface"
    detector_device: str = "cpu"
    dtype: str = "float32"
    runtime: RuntimeName = "torch"
    calibration: tuple[str, ...] = ()
    revision: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False
    settings: ExtractionConfig = field(default_factory=ExtractionConfig)

    def __post_init__(self) -> None:
        name, _ = check_detector(self.detector)
        check_recogniser(self.recogniser)
        if self.settings.identify and name in DETECTORS and name != "yunet" and isinstance(self.recogniser, str | Path):
            reason = f"detector {name!r} finds no landmarks, by which sface aligns faces"
            raise ConfigError(f"{reason}; use yunet, or a recogniser of your own")

        if self.settings.pool == "regions":
            check_landmarks(self.detector, "pool='regions'")

    def load_model(self, device: str = "auto") -> Marlin:
        """Build the model with its weights.

        Args:
            device: torch device of the model.
        Raises:
            MarlinError: as `Marlin.from_pretrained` and `Marlin.untrained`.
        """
        from marlin_sdk.marlin import Marlin

        options: LoadKeywords = {
            "device": device,
            "dtype": self.dtype,
            "runtime": self.runtime,
            "calibration": self.calibration or None,
            "detector": self.detector,
            "recogniser": self.recogniser,
            "cache_dir": self.cache_dir,
            "local_files_only": self.local_files_only,
        }
        if self.untrained:
            return Marlin.untrained(self.model, **options)
        if isinstance(self.model, ModelConfig):
            raise ConfigError("a config has no weights; name a model, or set untrained=True")
        return Marlin.from_pretrained(self.model, revision=self.revision, **options)

    def load_cutter(self, model: ModelConfig) -> ClipCutter:
        """Build the clip cutter; its detector and recogniser are loaded when a video first needs them."""
        return ClipCutter(model, LoadOnce(self._load_detector), LoadOnce(self._load_recogniser))

    def _load_detector(self) -> FaceDetector:
        return load_detector(
            self.detector,
            device=self.detector_device,
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )

    def _load_recogniser(self) -> FaceRecogniser:
        return load_recogniser(self.recogniser, cache_dir=self.cache_dir, local_files_only=self.local_files_only)

    def settings_for(self, video: VideoInput) -> ExtractionConfig:
        """The settings, with the time range and the track of an input."""
        return replace(self.settings, start_s=video.start_s, end_s=video.end_s, track=video.track)

    def identity(self, model: Marlin) -> dict[str, Any]:
        """Everything that determines the features of a dump; it must be the same in a rerun."""
        identity = features_identity(
            weights=model.identity,
            dtype=self.dtype,
            runtime=model.runtime,
            detector=self.detector,
            settings=self.settings,
        )
        if self.settings.identify:
            name, file = check_recogniser(self.recogniser)
            known = SFACE.sha256 if self.recogniser == "sface" else None
            identity["recogniser"] = {"name": name, "sha256": file_sha256(file) if file else known}
        return identity


class LoadOnce(Generic[_T]):
    """Loads a detector or recogniser on first use; if that fails, later uses raise the same error without an attempt.

    Attributes:
        error: why it cannot be loaded; None as long as nothing is known against it.
    """

    def __init__(self, load: Callable[[], _T]) -> None:
        self._load = load
        self._loaded: _T | None = None
        self.error: MarlinError | None = None

    def __call__(self) -> _T:
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self._loaded is None:
            try:
                self._loaded = self._load()
            except MarlinError as error:
                self.error = error
                raise
        return self._loaded
