"""Metrics of many cells, a split, ratio and label each, on the same draws of groups."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.evaluation.columns import row_keys
from marlin_sdk.evaluation.intervals import Interval, draw_groups, leave_one_out
from marlin_sdk.evaluation.metrics import mean_of_defined, scorer
from marlin_sdk.evaluation.predictions import Predictions

__all__ = ["Cell", "Resampler", "Sample", "cells_of", "macro", "pooled"]

_EXACT_ROWS = 1 << 23  # single precision counts to twice as many


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of a split, ratio and label, by seed."""

    split: str
    ratio: float
    label: str
    rows: Mapping[int, NDArray[np.int64]]

    @property
    def all_rows(self) -> NDArray[np.int64]:
        """The rows of all seeds."""
        return np.concatenate(list(self.rows.values()))


@dataclass(frozen=True, eq=False)
class Sample:
    """Metrics of a cell, by name; NaN where undefined.

    Attributes:
        values: with all groups, for each seed [S].
        draws: in each draw, averaged over seeds [B].
        without: without each group, averaged over seeds [G]; None unless it is needed.
    """

    values: Mapping[str, NDArray[Any]]
    draws: Mapping[str, NDArray[Any]]
    without: Mapping[str, NDArray[Any]] | None


def cells_of(predictions: Predictions) -> list[Cell]:
    """The cells, by split and label as their names come, and by rising ratio."""
    p = predictions
    keys = row_keys(p.split.codes, p.ratio, p.label.codes, p.seed)
    order = np.argsort(keys, kind="stable")
    found: dict[tuple[str, float, str], dict[int, NDArray[np.int64]]] = {}
    for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        row = int(rows[0])
        seeds = found.setdefault((p.split[row], float(p.ratio[row]), p.label[row]), {})
        seeds[int(p.seed[row])] = rows
    return [Cell(*key, seeds) for key, seeds in found.items()]


def pooled(cells: Sequence[Cell], label: str) -> Cell:
    """The rows of several labels as those of one."""
    seeds = sorted({seed for cell in cells for seed in cell.rows})
    rows = {seed: np.concatenate([cell.rows[seed] for cell in cells if seed in cell.rows]) for seed in seeds}
    return Cell(cells[0].split, cells[0].ratio, label, rows)


def macro(samples: Sequence[Sample]) -> Sample:
    """The mean over labels of what is defined."""

    def mean(of: Callable[[Sample], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        return {name: mean_of_defined(np.stack([of(sample)[name] for sample in samples])) for name in of(samples[0])}

    without = None if samples[0].without is None else mean(lambda sample: sample.without or {})
    return Sample(mean(lambda sample: sample.values), mean(lambda sample: sample.draws), without)


class Resampler:
    """Draws of the groups of a split, and the metrics of its cells on them.

    Args:
        groups: number of groups.
        draws: number of draws.
        seed: seed of the draws.
        interval: `bca` needs the metrics without each group too.
        metrics: names of metrics.
        rows: number of rows of the largest cell.
    """

    def __init__(
        self, groups: int, *, draws: int, seed: int, interval: Interval, metrics: Sequence[str], rows: int
    ) -> None:
        self._groups, self._metrics, self._interval = groups, metrics, interval
        self._dtype: type = np.float32 if rows < _EXACT_ROWS else np.float64
        self._blocks = list(draw_groups(groups, draws, seed, self._dtype))

    def samples(
        self,
        jobs: Sequence[tuple[Predictions, Cell, NDArray[np.int32], Sequence[int]]],
        progress: Callable[[], None] = lambda: None,
    ) -> list[Sample]:
        """The metrics of cells, on all cores.

        Args:
            jobs: predictions, one of their cells, the group of each of their rows, and the seeds of the result.
            progress: called after each.
        """

        def run(job: tuple[Predictions, Cell, NDArray[np.int32], Sequence[int]]) -> Sample:
            sample = self._sample(*job)
            progress()
            return sample

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as pool:
            return list(pool.map(run, jobs))

    def _sample(self, predictions: Predictions, cell: Cell, groups: NDArray[np.int32], seeds: Sequence[int]) -> Sample:
        ones = np.ones((self._groups, 1))
        values = {name: np.full(len(seeds), np.nan) for name in self._metrics}
        draws, without = [], []
        for at, seed in enumerate(seeds):
            if seed not in cell.rows:
                continue
            rows = cell.rows[seed]
            score = scorer(predictions.take(rows), groups[rows], self._groups, self._metrics)
            for name, value in score(ones).items():
                values[name][at] = value[0]
            draws.append(_joined([score(block) for block in self._blocks]))
            if self._interval == "bca":
                without.append(_joined([score(block) for block in leave_one_out(self._groups, self._dtype)]))
        return Sample(values, _mean(draws), _mean(without) if without else None)


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _mean(of_seeds: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: mean_of_defined(np.stack([seed[name] for seed in of_seeds])) for name in of_seeds[0]}
