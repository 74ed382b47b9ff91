"""Logs of a training run: TensorBoard, a metrics file, a progress bar."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.bars import bar_class
from marlin_sdk.reconstruction import save_png

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.loggers.tensorboard import TensorBoardLogger

__all__ = ["Monitor", "peak_gflops"]

logger = logging.getLogger("marlin_sdk")
_LINE_EVERY_S = 60.0


class Monitor:
    """Writes the logs in the first process; does nothing in the others.

    Attributes:
        last_speed: clips a second and shares of time in the last log entry, by name.

    Args:
        folder: of the run, for TensorBoard's files in `logs/`, pictures in `pictures/`, numbers in `metrics.jsonl`.
        fabric: launched.
        first_step: steps done before; later entries, which a killed run has logged, are removed.
        steps: of the whole run.
        log_every: steps between two log entries.
        clips_per_step: over all devices.
        gflop_per_step: the minimum arithmetic of a step on one device.
        progress: show a progress bar on stderr.
    """

    def __init__(
        self,
        folder: Path,
        fabric: Fabric,
        *,
        first_step: int,
        steps: int,
        log_every: int,
        clips_per_step: int,
        gflop_per_step: float,
        progress: bool,
    ) -> None:
        from lightning.fabric.loggers.tensorboard import TensorBoardLogger

        self._folder, self._log_every, self._clips_per_step = folder, log_every, clips_per_step
        self._active, self._steps, self._last_line_s = fabric.is_global_zero, steps, time.monotonic()
        self._board: TensorBoardLogger | None = None
        if self._active:
            self._board = TensorBoardLogger(root_dir=folder, name="logs", version="", purge_step=first_step + 1)
            _drop_lines(folder / "metrics.jsonl", first_step)
        self._bar = bar_class()(
            total=steps, initial=first_step, unit="step", disable=not (progress and self._active), smoothing=0.1
        )
        self._min_step_s = gflop_per_step / peak_gflops(fabric)
        self._waited_s = 0.0
        self.last_speed: dict[str, float] = {}
        self._started_s, self._num_steps = time.perf_counter(), 0

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.finalize("success")

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Measure the time that a step waits for its data."""
        started_s = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - started_s

    def log_step(self, done: int, losses: Callable[[], Mapping[str, float]], learning_rate: float) -> None:
        """Count a step, and write a log entry every `log_every` steps.

        Args:
            done: steps so far.
            losses: returns the losses of the step by name, the one for the progress bar first; called only for a log
                entry, since it waits for the device.
            learning_rate: of the step.
        """
        self._bar.update()
        self._num_steps += 1
        if done % self._log_every and done != self._bar.total:
            return
        loss_by_name = losses()
        elapsed_s = time.perf_counter() - self._started_s
        speed = self._num_steps / elapsed_s
        values = {
            **{f"train/{name}": value for name, value in loss_by_name.items()},
            "train/lr": learning_rate,
            "speed/clips_per_s": speed * self._clips_per_step,
            "speed/share_of_peak": self._min_step_s * speed,
            "speed/waiting_for_data": self._waited_s / elapsed_s,
        }
        self.last_speed = {name: value for name, value in values.items() if name.startswith("speed/")}
        self._log(done, values)
        self._log_line(done, next(iter(loss_by_name.values())), values["speed/clips_per_s"])
        self._bar.set_postfix_str(
            f"loss {next(iter(loss_by_name.values())):.4f}, {values['speed/clips_per_s']:.1f} clips/s, "
            f"{values['speed/share_of_peak']:.0%} of peak, {values['speed/waiting_for_data']:.0%} waiting",
            refresh=False,
        )
        self._reset()

    def _log_line(self, done: int, loss: float, clips_per_s: float) -> None:
        """Without a progress bar, log a line about once a minute."""
        now_s = time.monotonic()
        if not self._active or not self._bar.disable or now_s - self._last_line_s < _LINE_EVERY_S:
            return
        self._last_line_s = now_s
        left_s = (self._steps - done) * self._clips_per_step / clips_per_s
        logger.info(
            "step %d of %d: loss %.4f, %.1f clips/s, %s left",
            done, self._steps, loss, clips_per_s, timedelta(seconds=round(left_s)),
        )  # fmt: skip

    def log_validation(self, done: int, values: Mapping[str, float]) -> None:
        """Log the metrics of held-out clips."""
        self._log(done, values)
        self._reset()

    def log_picture(self, done: int, name: str, image: NDArray[np.uint8]) -> None:
        """Store a picture, uint8 (H, W, 3) in RGB: in TensorBoard by its name, and in `pictures/` by the step."""
        if self._board is not None:
            self._board.experiment.add_image(name, image, done, dataformats="HWC")
            save_png(image, self._folder / "pictures" / f"step-{done:07d}.png")
        self._reset()

    def _log(self, done: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step to TensorBoard and to `metrics.jsonl`."""
        if self._board is None:
            return
        self._board.log_metrics(dict(values), step=done)
        with (self._folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": done, **values}) + "\n")

    @contextmanager
    def not_training(self) -> Iterator[None]:
        """Exclude the time spent inside, such as for saving, from the measured speed."""
        started_s = time.perf_counter()
        yield
        self._started_s += time.perf_counter() - started_s

    def _reset(self) -> None:
        self._started_s, self._num_steps, self._waited_s = time.perf_counter(), 0, 0.0


def _drop_lines(file: Path, last_step: int) -> None:
    """Remove the lines of steps after `last_step`, and truncated lines."""
    retained = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        with suppress(ValueError):
            if json.loads(line)["step"] <= last_step:
                retained.append(line + "\n")
    if file.is_file():
        with atomic_path(file) as part:
            part.write_text("".join(retained), encoding="utf-8")


def peak_gflops(fabric: Fabric, *, repeats: int = 5) -> float:
    """The measured speed of a large matrix product on this device in the run's precision, in GFLOP/s.

    The best of some repeats; takes a fraction of a second.
    """
    device = fabric.device
    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 1024
    low = "bf16" in str(getattr(fabric.strategy.precision, "precision", ""))
    left = torch.ones(size, size, device=device, dtype=torch.bfloat16 if low else torch.float32)
    best_s = float("inf")
    for _ in range(repeats):
        if on_gpu:
            torch.cuda.synchronize(device)
        started_s = time.perf_counter()
        _ = left @ left
        if on_gpu:
            torch.cuda.synchronize(device)
        best_s = min(best_s, time.perf_counter() - started_s)
    return 2e-9 * size**3 / best_s
