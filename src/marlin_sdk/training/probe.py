"""Whether features get better in training: a linear probe of a frozen encoder on labelled windows."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import REGION_POOLS, ModelConfig
from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.face.regions.labels import REGIONS
from marlin_sdk.runtime.pooling import pool_time
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Sample, Shard, read_clip, read_regions

__all__ = ["PROBE_COLUMNS", "LabelledClips", "open_labelled", "probe_accuracy", "probe_features"]

PROBE_COLUMNS = ("source", "start_frame", "end_frame", "label", "part")
"""Columns of a table of labelled windows."""

_PARTS = ("train", "test")
_PENALTIES = np.logspace(-4, 2, 13)  # of the ridge, chosen by leave-one-out on the training part
_BATCH = 32
_PARTS_OF = {"eyes": ("right_eye", "left_eye")}
_BITS = {pool: sum(1 << REGIONS.index(part) for part in _PARTS_OF.get(pool, (pool,))) for pool in REGION_POOLS}


@dataclass(frozen=True)
class LabelledClips:
    """Labelled windows of prepared faces.

    Attributes:
        clips: uint8 (N, 16, H, W, 3), each centred on its labelled frames.
        labels: (N,) str.
        is_test: bool (N,); the probe is trained on the others.
        groups: (N,) str, the source of each, for intervals.
        regions: uint8 (N, t, h * w), bit k of a token is set where it shows `REGIONS[k]`; None if it is not known.
        without_face: rows of the table whose frames show no face that was prepared, or too few frames around them.
    """

    clips: Tensor
    labels: NDArray[np.str_]
    is_test: NDArray[np.bool_]
    groups: NDArray[np.str_]
    regions: Tensor | None = None
    without_face: int = 0

    def __str__(self) -> str:
        test = int(self.is_test.sum())
        missing = f", {self.without_face} rows without a prepared face left out" if self.without_face else ""
        return (
            f"{len(self.labels) - test} windows to train on, {test} to test, {len(set(self.labels))} labels, "
            f"majority {self.majority:.2f}{missing}"
        )

    @property
    def majority(self) -> float:
        """The accuracy of the training part's most frequent label on the test part."""
        constant = Counter(self.labels[~self.is_test].tolist()).most_common(1)[0][0]
        return float((self.labels[self.is_test] == constant).mean())


@dataclass(frozen=True)
class _Row:
    source: str
    centre: float
    label: str
    part: str
    line: int


def open_labelled(
    folder: str | Path,
    table: str | Path,
    *,
    sample_rate: int = 2,
    clip_frames: int = 16,
    tubelet_size: int = 2,
    trained_on: Iterable[str] = (),
) -> LabelledClips:
    """Read labelled windows from prepared faces.

    Args:
        folder: written by `marlin-sdk prepare`; both of its splits are read.
        table: a CSV file with the columns of `PROBE_COLUMNS`: `source`, a video's path below the folder of videos;
            `start_frame` and `end_frame`, the labelled frames of the video, counted from 0 (a time in seconds times the
            frame rate); `label`; and `part`, train or test. Videos without a row are not used.
        sample_rate: source frames from one frame of a clip to the next.
        clip_frames: frames of a clip.
        tubelet_size: frames of a token.
        trained_on: identities that the encoder is trained on, which the test part must not show.
    Returns:
        A window around the middle of each row's frames, shifted where the face's track begins or ends within it.
    Raises:
        ConfigError: an invalid table; a source in both parts, or a test source whose identity is trained on; a label
            that one part lacks; no row whose frames show a prepared face.
        VideoDecodeError: a shard is truncated or damaged.
    """
    rows = _read_rows(Path(table))
    data = DataFolder(Path(folder))
    if data.settings().fps:
        raise ConfigError(
            f"{folder} was prepared at fps={data.settings().fps:g}, so frames of its videos cannot be found in it; "
            "prepare it without fps"
        )
    by_source: dict[str, list[tuple[Shard, Sample]]] = {}
    for shard in data.shards():
        for sample in shard.samples:
            by_source.setdefault(sample.source, []).append((shard, sample))
    if unknown := sorted({row.source for row in rows} - set(by_source)):
        known = next(iter(sorted(by_source)), "nothing")
        raise ConfigError(
            f"{table}: {len(unknown)} of its sources are not in {folder}, such as {unknown[0]!r}; it holds {known!r} "
            "and others: prepare them too, or name sources by their path below the folder of videos"
        )
    _check_parts(rows, by_source, set(trained_on), table)
    span = (clip_frames - 1) * sample_rate + 1
    clips, regions, found, missing = [], [], [], 0
    for row in rows:
        place = _place(row, by_source[row.source], span)
        if place is None:
            missing += 1
            continue
        shard, sample, first = place
        frames = list(range(first, first + span, sample_rate))
        clips.append(read_clip(shard, sample, frames))
        regions.append(read_regions(shard, sample)[frames[::tubelet_size]])
        found.append(row)
    _check_labels(found, missing, table)
    return LabelledClips(
        clips=torch.from_numpy(np.stack(clips)),
        labels=np.array([row.label for row in found]),
        is_test=np.array([row.part == "test" for row in found]),
        groups=np.array([row.source for row in found]),
        regions=None if data.settings().parser == "none" else torch.from_numpy(np.stack(regions)).flatten(2),
        without_face=missing,
    )


def probe_features(
    encode: Callable[[Tensor], Tensor], labelled: LabelledClips, config: ModelConfig
) -> dict[str, Tensor]:
    """The features that the probe is asked about.

    Args:
        encode: float clips (B, 3, 16, H, W) in [0, 1] to normalised tokens (B, N, D).
        labelled: N clips.
        config: the model's size.
    Returns:
        By pooling, float32 on the CPU: "mean" (N, D), the mean of all tokens; "time" (N, t * D), that of each time
        step. If the regions are known, "mouth" (N, t * D), that of each time step's tokens that show the mouth, and
        "regions" (N, 4 * D), that of all tokens that show each of `REGION_POOLS`; of all tokens where none does.
    """
    pooled: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for begin in range(0, len(labelled.clips), _BATCH):
            part = slice(begin, begin + _BATCH)
            tokens = encode(labelled.clips[part].permute(0, 4, 1, 2, 3).float() / 255).float().cpu()
            by_time = pool_time(tokens, config)
            found = {"mean": by_time.mean(dim=1), "time": by_time}
            if labelled.regions is not None:
                regions = labelled.regions[part]
                cells = tokens.reshape(*regions.shape, -1)
                found["mouth"] = _mean(cells, regions & _BITS["mouth"] != 0, by_time)
                shown = torch.stack([regions.flatten(1) & _BITS[name] != 0 for name in REGION_POOLS], dim=1)
                found["regions"] = _mean(tokens[:, None], shown, found["mean"][:, None])
            for pool, values in found.items():
                pooled.setdefault(pool, []).append(values.flatten(1))
    return {pool: torch.cat(parts) for pool, parts in pooled.items()}


def _mean(tokens: Tensor, shown: Tensor, otherwise: Tensor) -> Tensor:
    """The mean of the tokens (..., L, D) where `shown` (..., L); where none is, `otherwise` (..., D)."""
    weights = shown.to(tokens.dtype)[..., None]
    count = weights.sum(dim=-2)
    return torch.where(count > 0, (tokens * weights).sum(dim=-2) / count.clamp(min=1), otherwise)


def probe_accuracy(features: Tensor, clips: LabelledClips) -> NDArray[np.bool_]:
    """Train a linear probe on the training part, and ask it about the test part.

    A ridge classifier on standardised features (scikit-learn's), whose penalty is chosen by leave-one-out.

    Args:
        features: float (N, F), a row for each clip.
        clips: their labels and parts.
    Returns:
        bool (T,), for each clip of the test part whether its label was found; the mean is the accuracy.
    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError("A probe during pretraining", "train") from error
    values = features.double().numpy()
    # The penalties are for features whose squares add up to about 1, whatever their number.
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_PENALTIES * values.shape[1]))
    probe.fit(values[~clips.is_test], clips.labels[~clips.is_test])
    return np.asarray(probe.predict(values[clips.is_test]) == clips.labels[clips.is_test], dtype=np.bool_)


def _read_rows(table: Path) -> list[_Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            cells = csv.DictReader(file)
            header, lines = tuple(cells.fieldnames or ()), list(cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"table {table} cannot be read: {error}") from error
    if missing := [name for name in PROBE_COLUMNS if name not in header]:
        raise ConfigError(f"table {table} has no column {missing[0]!r}; expected {', '.join(PROBE_COLUMNS)}")
    rows = [_parse(line, number, table) for number, line in enumerate(lines, start=2)]
    if not rows:
        raise ConfigError(f"table {table} has no rows")
    return rows


def _parse(line: dict[str, str | None], number: int, table: Path) -> _Row:
    cell = {name: (line[name] or "").strip() for name in PROBE_COLUMNS}
    try:
        start, end = int(cell["start_frame"]), int(cell["end_frame"])
    except ValueError:
        start, end = -1, -1
    if not 0 <= start <= end or cell["part"] not in _PARTS or not cell["label"] or not cell["source"]:
        raise ConfigError(
            f"table {table}, line {number}: {cell}; expected a source, frames 0 <= start_frame <= end_frame, a label, "
            "and part train or test"
        )
    return _Row(cell["source"], (start + end) / 2, cell["label"], cell["part"], number)


def _check_parts(
    rows: Sequence[_Row], by_source: dict[str, list[tuple[Shard, Sample]]], trained_on: set[str], table: str | Path
) -> None:
    parts: dict[str, str] = {}
    for row in rows:
        if parts.setdefault(row.source, row.part) != row.part:
            raise ConfigError(
                f"table {table}, line {row.line}: source {row.source!r} is in both parts of the probe; windows of one "
                "video resemble each other, so give each video one part"
            )
        for _, sample in by_source[row.source]:
            if row.part == "test" and sample.identity in trained_on:
                raise ConfigError(
                    f"table {table}, line {row.line}: source {row.source!r} is in the test part, and the encoder is "
                    "trained on it (split train of the data); test on held-out sources"
                )


def _check_labels(rows: Sequence[_Row], missing: int, table: str | Path) -> None:
    by_part = {part: {row.label for row in rows if row.part == part} for part in _PARTS}
    if not by_part["train"] or not by_part["test"]:
        raise ConfigError(
            f"table {table}: {missing} of {missing + len(rows)} rows show no prepared face; none is left for a part"
        )
    for part, other in (("test", "train"), ("train", "test")):
        if lacking := sorted(by_part[other] - by_part[part]):
            raise ConfigError(f"table {table}: label {lacking[0]!r} is missing from the {part} part of the probe")
    if len(by_part["train"]) < 2:
        raise ConfigError(f"table {table}: all rows have one label; a probe needs two")


def _place(row: _Row, samples: list[tuple[Shard, Sample]], span: int) -> tuple[Shard, Sample, int] | None:
    """Sample and first frame of the window around a row's middle; None if no sample shows it in whole."""
    for shard, sample in samples:
        middle = row.centre - sample.first_frame
        if 0 <= middle < sample.num_frames and sample.num_frames >= span:
            first = round(middle - span / 2)
            return shard, sample, min(max(first, 0), sample.num_frames - span)
    return None
