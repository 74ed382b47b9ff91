"""Score a video: its faces against its sound, at shifts of -15 to 15 frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk._version import __version__
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.runtime.torch import resolve_device
from marlin_sdk.sync.curve import read_curve, slope_ms_per_min
from marlin_sdk.sync.files import SyncFacts, load_sync
from marlin_sdk.sync.mel import LogMel, check_audible, log_mel
from marlin_sdk.sync.network import FPS, SyncNetwork
from marlin_sdk.sync.result import Part, SyncScore, TrackSync, is_near
from marlin_sdk.sync.windows import FaceWindows, cut_faces, shift_distances, silent_windows
from marlin_sdk.video.sound import Sound, read_sound

__all__ = ["SyncScorer"]


class SyncScorer:
    """A trained network and a face detector, for new videos. Make one of a run's folder with `from_folder`.

    Args:
        network: see `load_sync`.
        facts: of the network.
        detector: the face detector.
        device: torch device, as in `Marlin.from_pretrained`.
    """

    def __init__(
        self, network: SyncNetwork, facts: SyncFacts, *, detector: FaceDetector, device: str | torch.device = "auto"
    ) -> None:
        self._device = resolve_device(device)
        self._network = network.to(self._device)
        self._facts, self._detector = facts, detector

    @classmethod
    def from_folder(
        cls, folder: str | Path, *, detector: str | Path | FaceDetector = "yunet", device: str | torch.device = "auto"
    ) -> SyncScorer:
        """Load a model.

        Args:
            folder: output of `marlin-sdk sync train`.
            detector: as in `Marlin.from_pretrained`.
            device: the same.
        Raises:
            ConfigError, WeightsError: as `load_sync`; or an unknown device.
            MarlinError: the detector cannot be loaded.
        """
        network, facts = load_sync(folder)
        return cls(network, facts, detector=load_detector(detector), device=device)

    def score(
        self,
        video: str | Path | bytes,
        *,
        stride: int = 4,
        part_s: float = 4.0,
        batch_size: int = 16,
        progress: bool = False,
    ) -> SyncScore:
        """Score a video.

        Args:
            video: a file, or its bytes.
            stride: frames from one window to the next; fewer are surer and slower.
            part_s: length of the parts whose offsets are read alone, for drift.
            batch_size: windows embedded at once.
            progress: show a progress bar on stderr.
        Raises:
            NoSoundError: the file has no sound, or nothing but silence.
            NoFaceError: no window shows a face, or the video is shorter than one.
            VideoDecodeError: the file cannot be read.
            ConfigError: a setting below 1, or `part_s` shorter than a window.
        """
        window_s = self._network.config.model.n_frames / FPS
        if stride < 1 or batch_size < 1 or not part_s >= window_s:
            raise ConfigError(
                f"stride is {stride}, batch_size {batch_size}, part_s {part_s}; expected at least 1, 1 and {window_s}"
            )
        sound = read_sound(video)
        heard = log_mel(sound)
        check_audible(sound, heard, "<bytes>" if isinstance(video, bytes) else str(video))
        faces, warnings = cut_faces(
            video,
            self._network.config.model,
            self._detector,
            stride=stride,
            batch_size=batch_size,
            embed=self._embed,
            progress=progress,
        )
        embedded = self._embed_sound(heard)
        tracks = tuple(self._track(face, embedded, heard, part_s) for face in faces)
        return SyncScore(
            source="<bytes>" if isinstance(video, bytes) else str(video),
            tracks=tracks,
            max_distance=self._facts.max_distance,
            meta={
                "model": self._facts.weights_sha256,
                "stride": stride,
                "part_s": part_s,
                "detector": self._detector.name,
                "version": __version__,
            },
            warnings=(*warnings, *sound.warnings, *_length_warnings(faces, sound, window_s)),
        )

    def _embed(self, pixels: NDArray[np.uint8]) -> Tensor:
        clips = torch.from_numpy(pixels).to(self._device).permute(0, 4, 1, 2, 3).float().div_(255)
        with torch.inference_mode():
            return self._network.embed_faces(clips).float().cpu()

    def _embed_sound(self, heard: LogMel) -> Tensor:
        values = torch.from_numpy(heard.values).to(self._device)[None]
        with torch.inference_mode():
            return self._network.embed_sound(values)[0].float().cpu()

    def _track(self, face: FaceWindows, sound: Tensor, heard: LogMel, part_s: float) -> TrackSync:
        found = shift_distances(face, sound, heard, self._network.config.model)
        found[silent_windows(face.start_s, heard)] = np.nan
        window_s = self._network.config.model.n_frames / FPS
        parts = []
        for rows in _parts(face.start_s, part_s - window_s):
            reading = read_curve(found[rows])
            if reading is not None:
                start_s, end_s = float(face.start_s[rows[0]]), float(face.start_s[rows[-1]]) + window_s
                parts.append(Part(start_s, end_s, reading.offset_ms, reading.confidence, reading.distance))
        sure = [part for part in parts if is_near(part.distance, self._facts.max_distance)]
        middles_s = np.array([(part.start_s + part.end_s) / 2 for part in sure])
        offsets_ms = np.array([part.offset_ms for part in sure])
        return TrackSync(
            track_id=face.track_id,
            start_s=float(face.start_s[0]),
            end_s=float(face.start_s[-1]) + window_s,
            windows=len(face.start_s),
            reading=read_curve(found),
            parts=tuple(parts),
            drift_ms_per_min=slope_ms_per_min(middles_s, offsets_ms),
        )


def _parts(start_s: NDArray[np.float64], length_s: float) -> Iterator[NDArray[np.int64]]:
    """Rows of windows that start within a part of this length, one part after another."""
    number = ((start_s - start_s[0]) // max(length_s, 1e-3)).astype(np.int64)
    for one in np.unique(number):
        yield np.flatnonzero(number == one)


def _length_warnings(faces: list[FaceWindows], sound: Sound, window_s: float) -> Iterator[str]:
    end_s = max(float(face.start_s[-1]) for face in faces) + window_s
    if sound.end_s < end_s - 0.5:
        yield f"the sound ends at {sound.end_s:.2f} s, faces at {end_s:.2f} s; the rest is not scored"
    if sound.start_s > min(float(face.start_s[0]) for face in faces) + 0.5:
        yield f"the sound starts at {sound.start_s:.2f} s"
