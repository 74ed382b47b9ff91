"""The settings of a benchmark run, and the workers it starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contest import (
    REFERENCE,
    Contestant,
    UnavailableError,
    Worker,
    compare,
    on_stderr,
    take_turns,
)
from benchmarks.inputs import ROOT, face_video, make_checkpoint, pixels_of_clips, resized_copy, shared_file
from benchmarks.peer.environment import PeerEnvironment

__all__ = ["BASE", "LARGE", "SIZES", "SMALL", "Bench", "Goal", "Variant", "entrant"]

Goal = tuple[float, float]
SMALL, BASE, LARGE = (f"marlin_vit_{size}_ytf" for size in ("small", "base", "large"))
SIZES = {"240p": (426, 240), "360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}
BETWEEN_WINDOWS = 32  # source frames


@dataclass(frozen=True)
class Variant:
    """A way to run marlin-sdk: the keyword arguments of `from_pretrained`."""

    label: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """The settings of a run, and the workers it starts.

    Attributes:
        work: folder of checkpoints, videos and the reference's environment.
        threads: number of threads per side.
        rounds: number of timed rounds.
        quick: a smoke test with little work; the numbers are not meaningful.
        peer: the reference's environment; None measures marlin-sdk alone.
        device: torch device of both sides.
        say: called with each progress message.
    """

    work: Path
    threads: int
    rounds: int
    quick: bool = False
    peer: PeerEnvironment | None = None
    device: str = "cpu"
    say: Callable[[str], None] = on_stderr

    def checkpoint(self, model: str) -> Path:
        """The weights that both sides load."""
        return make_checkpoint(model, self.work / "weights")

    def video(self, size: str, windows: int) -> Path:
        """A copy of the face video at a size, with this many complete windows for both sides."""
        width, height = SIZES.get(size, (224, 224))
        count = min(windows, 2) if self.quick else windows
        return resized_copy(face_video(), width, height, BETWEEN_WINDOWS * count + 1, self.work / "media")

    def clips(self, count: int) -> Path:
        """Clips of real frames."""
        return pixels_of_clips(count, self.work / "media")

    @property
    def _log(self) -> Path:
        return self.work / "workers.log"

    def peer_detector(self) -> str:
        """Weights of the reference's face detector."""
        from marlin_sdk.weights.downloads import RETINAFACE, fetch_asset

        return str(shared_file("weights/retinaface_mobilenet0.25.pth") or fetch_asset(RETINAFACE))

    def detector(self) -> str:
        """marlin-sdk's default face detector."""
        yunet = shared_file("weights/face_detection_yunet_2023mar.onnx")
        return f"yunet:{yunet}" if yunet else "yunet"

    def start_peer(self, model: str, crop: bool) -> Worker:
        """Start the reference's worker and load its model."""
        assert self.peer is not None
        worker = Worker(
            self.peer.python, "benchmarks.peer.worker", [*self.peer.import_path, ROOT], self.threads, self._log
        )
        detector = self.peer_detector() if crop else None
        return self._open(worker, model, detector=detector, model=model)

    def start_sdk(self, model: str, crop: bool, options: Mapping[str, Any]) -> Worker:
        """Start a worker of marlin-sdk and load its model."""
        worker = Worker(Path(sys.executable), "benchmarks.sdk_worker", [ROOT / "src", ROOT], self.threads, self._log)
        return self._open(worker, model, detector=self.detector() if crop else None, options=dict(options))

    def _open(self, worker: Worker, weights: str, **arguments: Any) -> Worker:
        """Load a model, and embed one clip as an untimed warm-up."""
        checkpoint, saved = str(self.checkpoint(weights)), str(self.work / "features-warm.npy")
        try:
            worker.ask("open", checkpoint=checkpoint, threads=self.threads, device=self.device, **arguments)
            worker.ask("encode", clips=str(self.clips(1)), save_to=saved)
        except UnavailableError:
            worker.close()
            raise
        return worker

    def contestants(
        self, model: str, variants: Sequence[Variant], goals: Mapping[str, Goal], task: str, **arguments: Any
    ) -> list[Contestant]:
        """The reference, if available, and variants of marlin-sdk, each with its own process."""
        crop = bool(arguments.get("crop")) or task == "pieces"
        starts: dict[str, Callable[[], Worker]] = {}
        if self.peer:
            starts[REFERENCE] = partial(self.start_peer, model, crop)
        for variant in variants:
            starts[variant.label] = partial(self.start_sdk, model, crop, variant.options)
        saves = task in ("encode", "extract")
        entrants = []
        for place, (label, start) in enumerate(starts.items()):
            features = self.work / f"features-{place}.npy" if saves else None
            given = {**arguments, "save_to": str(features)} if features else arguments
            entrants.append(entrant(label, start, task, given, goals.get(label), features))
        return entrants

    def contest(self, contestants: Sequence[Contestant]) -> dict[str, Any]:
        """Run the contestants in alternating rounds, and compare them."""
        try:
            return compare(contestants, take_turns(contestants, self.rounds, self.say))
        finally:
            for contestant in contestants:
                contestant.close()


def entrant(
    label: str,
    start: Callable[[], Worker],
    task: str,
    arguments: Mapping[str, Any],
    goal: Goal | None = None,
    features: Path | None = None,
) -> Contestant:
    """A contestant whose worker starts in `prepare`, runs one task per round, and ends in `close`."""
    worker: list[Worker] = []

    def prepare() -> None:
        worker.append(start())

    def measure() -> dict[str, Any]:
        return worker[0].ask(task, **arguments)

    def close() -> None:
        for open_one in worker:
            open_one.close()

    return Contestant(label, measure, goal, features, prepare, close)
