"""LSE-D and LSE-C of real and made films, with a user's own SyncNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marlin_sdk.face.detections import FaceDetector
    from marlin_sdk.lipsync.maker import LipMaker

__all__ = ["lse_of_films"]


def lse_of_films(
    videos: Sequence[str], maker: LipMaker, detector: FaceDetector, weights: str, *, device: str = "auto"
) -> dict[str, Any]:
    """The measures of real videos, and of films of them with the sound of the next.

    Args:
        videos: files with face and sound.
        maker: the network.
        detector: the face detector.
        weights: of SyncNet v2, see `load_syncnet`.
        device: torch device.
    Returns:
        Mean `lse_d` and `lse_c` by what was judged: of each film, the face that fits best.
    Raises:
        MarlinError: a film cannot be made or judged.
    """
    from marlin_sdk.lipsync.film import write_lips
    from marlin_sdk.sync.syncnet.measure import lse_of_video
    from marlin_sdk.sync.syncnet.network import load_syncnet

    network = load_syncnet(weights)
    found: dict[str, list[Any]] = {"real videos (SyncNet)": [], "made films (SyncNet)": []}
    with TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        for index, video in enumerate(videos):
            write_lips(video, videos[(index + 1) % len(videos)], film, maker, detector, mark=False)
            for name, judged in zip(found, (Path(video), film), strict=True):
                scores = lse_of_video(judged, network, detector, device=device)
                found[name].append(max(scores, key=lambda score: score.lse_c))
    return {
        name: {key: sum(getattr(score, key) for score in scores) / len(scores) for key in ("lse_d", "lse_c")}
        for name, scores in found.items()
    }
