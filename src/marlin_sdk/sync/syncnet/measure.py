"""LSE-D and LSE-C (Prajwal et al. 2020): the distance of lips and sound by SyncNet, and how sure it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.runtime.torch import resolve_device
from marlin_sdk.sync.curve import MAX_SHIFT
from marlin_sdk.sync.network import FPS
from marlin_sdk.sync.syncnet.mfcc import STEPS_PER_S, cepstra
from marlin_sdk.sync.syncnet.network import FRAMES, SIZE_PX, STEPS, SyncNet
from marlin_sdk.sync.windows import cut_faces
from marlin_sdk.video.sound import SOUND_RATE, Sound, read_sound

__all__ = ["SyncNetScore", "lse", "lse_of_video"]

_CLIP = ModelConfig(
    encoder_embed_dim=1, encoder_depth=1, encoder_num_heads=1, img_size=SIZE_PX, patch_size=16, n_frames=16
)
_BATCH = 16
_STEPS_PER_FRAME = int(STEPS_PER_S / FPS)


@dataclass(frozen=True)
class SyncNetScore:
    """The measures of a face.

    Attributes:
        track_id: its track.
        lse_d: minimum of the mean distance over shifts of -15 to 15 frames; lower is better.
        lse_c: median minus minimum; higher is better.
        offset_frames: where the minimum is, positive where the sound is late: minus SyncNet's own "AV offset".
        frames: number of windows.
    """

    track_id: int
    lse_d: float
    lse_c: float
    offset_frames: int
    frames: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def lse(faces: Tensor, sounds: Tensor) -> tuple[float, float, int]:
    """LSE-D, LSE-C and offset, to their definition: sounds beyond the ends are zeros.

    Args:
        faces: float (T, D), of windows that start at successive frames.
        sounds: float (T, D), of their sound.
    Returns:
        Minimum, median minus minimum, and shift of the minimum in frames.
    """
    padded = F.pad(sounds, (0, 0, MAX_SHIFT, MAX_SHIFT))
    shifted = torch.stack([padded[shift : shift + len(faces)] for shift in range(2 * MAX_SHIFT + 1)])
    curve = F.pairwise_distance(faces[None], shifted).mean(dim=1)
    lowest = int(curve.argmin())
    smallest = float(curve[lowest])
    return smallest, float(curve.median()) - smallest, lowest - MAX_SHIFT


def lse_of_video(
    video: str | Path | bytes,
    network: SyncNet,
    detector: FaceDetector,
    *,
    device: str | torch.device = "auto",
    progress: bool = False,
) -> list[SyncNetScore]:
    """The measures of every face of a video.

    Faces are cropped as this package crops them; the numbers of another pipeline with other crops differ a little.

    Args:
        video: a file, or its bytes.
        network: see `load_syncnet`.
        detector: the face detector.
        device: torch device.
        progress: show a progress bar on stderr.
    Raises:
        MarlinError: as `SyncScorer.score`.
    """
    place = resolve_device(device)
    network.to(place)

    def embed(pixels: NDArray[np.uint8]) -> Tensor:
        bgr = torch.from_numpy(pixels).to(place).flip(-1).permute(0, 4, 1, 2, 3).float()
        windows = bgr.unfold(2, FRAMES, 1).permute(0, 2, 1, 5, 3, 4)  # (B, 12, 3, 5, S, S)
        with torch.inference_mode():
            found = [network.embed_faces(part) for part in torch.split(windows.flatten(0, 1), _BATCH)]
        return torch.cat(found).reshape(*windows.shape[:2], -1).cpu()

    sound = read_sound(video)
    stride = _CLIP.n_frames - FRAMES + 1  # so that each frame starts one window
    found, _ = cut_faces(
        video, _CLIP, detector, stride=stride, batch_size=2, embed=embed, progress=progress
    )  # fmt: skip
    scores = []
    for face in found:
        starts = (torch.from_numpy(face.start_s)[:, None] + torch.arange(stride) / FPS).flatten()
        sounds = _embed_sound(network, sound, starts.numpy(), place)
        values = lse(face.values.flatten(0, 1).float(), sounds)
        scores.append(SyncNetScore(face.track_id, *values, len(starts)))
    return scores


def _embed_sound(network: SyncNet, sound: Sound, starts_s: NDArray[np.float64], device: torch.device) -> Tensor:
    """The sound at some times; silent where the video has none."""
    reach = STEPS / STEPS_PER_S + 1
    length = round((float(starts_s.max()) + reach) * SOUND_RATE)
    samples = np.zeros(max(length, round(sound.end_s * SOUND_RATE)), dtype=np.float32)
    first = round(sound.start_s * SOUND_RATE)
    samples[first : first + len(sound.samples)] = sound.samples
    coefficients = torch.from_numpy(cepstra(samples)).float()
    steps = torch.from_numpy(np.round(starts_s * STEPS_PER_S).astype(np.int64))
    windows = torch.stack([coefficients[step : step + STEPS].T for step in steps.tolist()])[:, None]
    with torch.inference_mode():
        return torch.cat([network.embed_sound(part.to(device)).cpu() for part in torch.split(windows, 64)])
