"""Prepare the videos of a table, cropped as an extraction crops them, as far as that goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.training.finetune.data.placing import WindowRule
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.run import prepare

__all__ = ["prepare_rows", "settings_for"]

_DETECT_EVERY = 4  # sampled frames, as in `ExtractionConfig`
_NAMED = 3


def settings_for(model: ModelConfig, rule: WindowRule, *, detector: str = "yunet") -> PrepareConfig:
    """Settings with which faces are prepared for fine-tuning.

    As in an extraction, the most prominent face of each video is taken, however small, and detected on every fourth
    sampled frame. But tracks are smoothed over all frames, not over sampled ones, and crops are kept as WebP.

    Args:
        model: its size.
        rule: how windows are taken.
        detector: as in `Marlin.from_pretrained`.
    """
    return PrepareConfig(
        size_px=model.img_size,
        patch_px=model.patch_size,
        detector=detector,
        parser="none",
        faces="largest",
        detect_every=_DETECT_EVERY * rule.sample_rate,
        min_frames=rule.needed,
        min_face_px=0,
        identity="source",
        val_share=0.0,
    )


def prepare_rows(
    rows: Sequence[VideoInput],
    folder: Path,
    config: PrepareConfig,
    *,
    workers: int = 1,
    max_broken: float = 0.05,
    on_outcome: Callable[[Outcome, int], None] | None = None,
) -> list[str]:
    """Prepare the videos of a table's rows, where they are not prepared yet.

    Args:
        rows: of the table.
        folder: for the shards; what an earlier run has left there is kept.
        config: from `settings_for`.
        workers: number of processes.
        max_broken: share of the videos that may be broken.
        on_outcome: called with each outcome and the number of videos to do.
    Returns:
        What was left out, in words.
    Raises:
        TrainingError: more videos are broken.
        MarlinError: as `prepare`.
    """
    paths = list(dict.fromkeys(os.path.abspath(row.source) for row in rows))  # noqa: PTH100 - links stay as they are
    there = [path for path in paths if os.path.exists(path)]  # noqa: PTH110
    missing = [path for path in paths if not os.path.exists(path)]  # noqa: PTH110
    if not there:
        raise ConfigError(f"none of the {len(paths)} videos of the table exists, such as {paths[0]}")
    result = prepare(there, folder, config, workers=workers, on_outcome=on_outcome)
    notes = list(result.notes)
    broken = [one.source for one in DataFolder(folder).outcomes().values() if one.status == "broken"]
    if len(broken) + len(missing) > max_broken * len(paths):
        raise TrainingError(
            f"{len(broken) + len(missing)} of {len(paths)} videos are broken or missing "
            f"({', '.join([*broken, *missing][:_NAMED])}), more than max_broken = {max_broken:g} allows"
        )
    if missing:
        notes.append(f"{len(missing)} videos do not exist, such as {missing[0]}")
    return notes
