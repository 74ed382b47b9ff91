"""VideoFeatures: the features of a video, and where each row comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.errors import ConfigError, FeatureFileError, MissingExtraError, ShapeError
from marlin_sdk.features.alignment import closed_ends, even_times, rows_at
from marlin_sdk.features.files import (
    ARRAY_DTYPES,
    check_checksum,
    read_features,
    row_shapes,
    write_features,
)
from marlin_sdk.features.slices import slice_rows
from marlin_sdk.features.windows import FaceWindow, SkippedWindow

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VideoFeatures"]


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """The embedding of a video, with the provenance of every row.

    Attributes:
        features: float32 (N, D); (N, 8, D) of `pool="time"`, (N, 4, D) of "regions", (N, 1568, D) with `keep_seq`; a
            reduction over the N rows leaves (D,), (8, D) or (4, D).
        start_s: float64 (N,), see `FaceWindow`.
        end_s: float64 (N,).
        frame_index: int64 (N, 16).
        frame_valid: bool (N, 16).
        boxes: float32 (N, 16, 4).
        face_score: float32 (N, 16).
        track_id: int64 (N,).
        skipped: windows in which fewer than half of the frames show the face.
        warnings: problems that did not stop the extraction.
        meta: source, model, commit, config, every setting, versions; plain JSON values.

    Raises:
        ShapeError: arrays of the wrong dtype, or whose shapes do not match.
    """

    features: NDArray[np.float32]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    frame_index: NDArray[np.int64]
    frame_valid: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    face_score: NDArray[np.float32]
    track_id: NDArray[np.int64]
    skipped: tuple[SkippedWindow, ...] = ()
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, dtype in ARRAY_DTYPES.items():
            if getattr(self, name).dtype != dtype:
                raise ShapeError(f"{name} has dtype {getattr(self, name).dtype}, expected {np.dtype(dtype)}")
        rows, steps = len(self.track_id), self.frame_index.shape[-1]
        if rows and not steps:
            raise ShapeError(f"frame_index has shape {self.frame_index.shape}: its windows have no frames")
        for name, shape in row_shapes(steps).items():
            got, expected = getattr(self, name).shape, (rows, *shape)
            if got != expected:
                raise ShapeError(f"{name} has shape {got}, expected {expected} for {rows} rows")
        shape = self.features.shape
        fits = len(shape) in (1, 2) if self.is_reduced else len(shape) in (2, 3) and shape[0] == rows
        if not fits:
            raise ShapeError(f"features have shape {shape}, expected ({rows}, ...) for {rows} rows, or (D,) reduced")
        persons = self.meta.get("persons", [])
        if not isinstance(persons, list) or not all(type(person) is int and 0 <= person < 2**31 for person in persons):
            raise ShapeError(f"meta['persons'] is {persons!r:.80}; expected the person of each track, from 0 on")

    def __len__(self) -> int:
        """Number of windows embedded, N."""
        return len(self.track_id)

    def __repr__(self) -> str:
        span = f"{self.start_s[0]:.2f}-{self.end_s[-1]:.2f} s" if len(self) else "no rows"
        return (
            f"VideoFeatures({self.meta.get('source', '?')}: {self.features.shape}, {span}, {len(self.skipped)} skipped)"
        )

    @property
    def pool(self) -> str:
        """What a row has a vector for: "mean" for its window, "time" for slices of it, "regions" of the face."""
        return str(self._setting("pool", "mean"))

    @property
    def is_reduced(self) -> bool:
        """Whether a reduction over the rows left no rows of features."""
        return self.features.ndim == 1 or (self.features.ndim == 2 and self._setting("reduction", "none") != "none")

    def _setting(self, name: str, default: str) -> Any:
        settings = self.meta.get("settings")
        return settings.get(name, default) if isinstance(settings, Mapping) else default

    @classmethod
    def from_windows(
        cls,
        windows: Sequence[FaceWindow],
        features: NDArray[np.float32],
        *,
        num_steps: int,
        skipped: Iterable[SkippedWindow] = (),
        warnings: Iterable[str] = (),
        meta: Mapping[str, Any] | None = None,
    ) -> VideoFeatures:
        """Stack rows; `features` is separate, because it may be reduced to one vector already."""
        count = len(windows)
        return cls(
            features=np.asarray(features, dtype=np.float32),
            start_s=np.array([window.start_s for window in windows], dtype=np.float64),
            end_s=np.array([window.end_s for window in windows], dtype=np.float64),
            frame_index=np.array([window.frame_index for window in windows], dtype=np.int64).reshape(count, num_steps),
            frame_valid=np.array([window.frame_valid for window in windows], dtype=np.bool_).reshape(count, num_steps),
            boxes=np.array([window.boxes for window in windows], dtype=np.float32).reshape(count, num_steps, 4),
            face_score=np.array([window.face_score for window in windows], dtype=np.float32).reshape(count, num_steps),
            track_id=np.array([window.track_id for window in windows], dtype=np.int64),
            skipped=tuple(skipped),
            warnings=tuple(warnings),
            meta=dict(meta or {}),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per window, for pandas (extra `[pandas]`).

        Returns:
            Columns `source`, `start_s`, `end_s`, `track_id`, `first_frame`, `last_frame`, `valid_frames`, `face_score`
            (mean over the frames that show the face), and `f0` ... for the feature; `person_id` after
            `track_id` if persons were identified.
        Raises:
            MissingExtraError: pandas is not installed.
            ConfigError: the rows are of several vectors, or reduced, and no table.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_dataframe()", "pandas") from error
        self._check_table(self.features)
        seen = np.where(self.frame_valid, self.face_score, np.nan)
        counts = np.maximum((~np.isnan(seen)).sum(axis=1), 1)
        scores = np.where(np.isnan(seen).all(axis=1), np.nan, np.nansum(seen, axis=1) / counts)
        head = pd.DataFrame(
            {
                "source": [self.meta.get("source")] * len(self),
                "start_s": self.start_s,
                "end_s": self.end_s,
                "track_id": self.track_id,
                **({"person_id": self.person_id} if "persons" in self.meta else {}),
                "first_frame": self.frame_index.min(axis=1, initial=np.iinfo(np.int64).max),
                "last_frame": self.frame_index.max(axis=1, initial=0),
                "valid_frames": self.frame_valid.sum(axis=1),
                "face_score": scores,
            }
        )
        table = pd.DataFrame(self.features, columns=[f"f{index}" for index in range(self.features.shape[1])])
        return pd.concat([head, table], axis=1)

    def __getitem__(self, rows: slice | NDArray[Any] | Sequence[int]) -> VideoFeatures:
        """Some of the rows: `features[2:5]`, `features[features.start_s < 10]`, `features[[0, 3]]`.

        Args:
            rows: a slice, a boolean mask (N,), or row numbers.
        Raises:
            ConfigError: the features were reduced to one vector, or the rows do not fit.
        """
        if self.is_reduced:
            raise ConfigError("a reduction left one vector, which has no rows to select; extract with reduction='none'")
        try:
            chosen = rows if isinstance(rows, slice) else np.asarray(rows) if len(rows) else slice(0)
            index = np.arange(len(self))[chosen].reshape(-1)
        except (IndexError, ValueError, TypeError) as error:
            raise ConfigError(f"{len(self)} rows cannot be indexed so: {error}") from error
        return replace(self, **{name: getattr(self, name)[index] for name in ARRAY_DTYPES})

    def tracks(self) -> dict[int, VideoFeatures]:
        """The rows of each face, by `track_id`, in order of appearance."""
        return {int(track): self[self.track_id == track] for track in dict.fromkeys(self.track_id.tolist())}

    @property
    def person_id(self) -> NDArray[np.int64]:
        """int64 (N,): the person of each row, numbered from 0 in a video; -1 without `identify=True`, or a crop."""
        persons = np.array([*self.meta.get("persons", ()), -1], dtype=np.int64)
        return persons[np.where(self.track_id < len(persons) - 1, self.track_id, -1)]

    def persons(self) -> dict[int, VideoFeatures]:
        """The rows of each person, by `person_id`, in order of appearance."""
        return {int(person): self[self.person_id == person] for person in dict.fromkeys(self.person_id.tolist())}

    def by_time(self) -> VideoFeatures:
        """The slices of `pool="time"` as rows of their own: features at half the sampled frame rate.

        Slices that show nothing new are left out: those whose two frames both repeat a neighbour, at the end of a video
        or where the face is absent. Times lie evenly between the start and the end of each window: exact at a constant
        frame rate. Windows that overlap give overlapping rows.

        Returns:
            (M, D) features, M <= 8 * N, in the order of the windows. (M, 2) `frame_index`, `frame_valid`, `boxes` and
            `face_score` are those of a slice's two frames; `end_s` is where the next slice starts or the window ends.
        Raises:
            ConfigError: the features are not of `pool="time"`, or reduced.
        """
        if self.pool != "time" or self.features.ndim != 3:
            raise ConfigError(
                f"by_time() splits the slices (N, 8, D) of pool='time'; got {self.features.shape} of "
                f"pool={self.pool!r}; extract with pool='time', reduction='none'"
            )
        video = self.meta.get("video")
        fps = video.get("fps") if isinstance(video, Mapping) else None
        rows: dict[str, Any] = slice_rows({name: getattr(self, name) for name in ARRAY_DTYPES}, fps)
        return replace(self, **rows)

    def at(self, times_s: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The feature at each moment, such as those of audio frames or labels.

        Of the windows that contain a moment (of `pool="time"`, of the slices), the one with the nearest centre counts.
        With several faces, take one of `tracks()` first.

        Args:
            times_s: (T,), in seconds from the start of the video, in any order.
        Returns:
            float32 (T, D); (T, 4, D) of `pool="regions"`, (T, 1568, D) with `keep_seq`; NaN where no window contains
            the moment (before the first window, where no face was found, after the end); and bool (T,), False there.
        Raises:
            ConfigError: the features were reduced to one vector, they are of several faces, or `times_s` is invalid.
        """
        if self.is_reduced:
            raise ConfigError("a reduction left one vector, which has no times; extract with reduction='none'")
        if (faces := len(set(self.track_id.tolist()))) > 1 and (np.diff(self.start_s) <= 0).any():
            raise ConfigError(f"rows of {faces} faces at the same time; take one: features.tracks()[0].at(...)")
        table = self.by_time() if self.pool == "time" and self.features.ndim == 3 else self
        rows = rows_at(table.start_s, closed_ends(table.start_s, table.end_s, table.frame_index.shape[1]), times_s)
        values = np.full((len(rows), *table.features.shape[1:]), np.nan, dtype=np.float32)
        values[rows >= 0] = table.features[rows[rows >= 0]]
        return values, rows >= 0

    def to_pandas(self, *, hz: float | None = None, times_s: ArrayLike | None = None) -> pd.DataFrame:
        """A table on a clock of your own, to join with labels or other streams (extra `[pandas]`).

        Args:
            hz: rows a second, from 0 to the end of the last window.
            times_s: (T,), the moments themselves, in place of `hz`: the times of your labels, say.
        Returns:
            A column `f0`, ... for each value of the feature, NaN where no window is (see `at`), indexed by `time_s`.
        Raises:
            MissingExtraError: pandas is not installed.
            ConfigError: neither or both of `hz` and `times_s`, or as `at`.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_pandas()", "pandas") from error
        if (hz is None) == (times_s is None):
            raise ConfigError("give either hz= or times_s=; for one row per window use to_dataframe()")
        end_s = float(self.end_s.max()) if len(self) else 0.0
        times = even_times(end_s, hz) if hz is not None else np.asarray(times_s, dtype=np.float64)
        values, _ = self.at(times)
        self._check_table(values)
        columns = [f"f{index}" for index in range(values.shape[1])]
        return pd.DataFrame(values, columns=columns, index=pd.Index(times, name="time_s"))

    def _check_table(self, values: NDArray[np.float32]) -> None:
        if values.ndim != 2 or self.is_reduced:
            remedy = "extract with the default reduction, without keep_seq"
            if not self.is_reduced and self.pool != "mean":
                remedy = {"time": "use by_time(), which makes a row of each slice"}.get(
                    self.pool, "take the vectors of one region, or extract with pool='mean'"
                )
            raise ConfigError(f"features of shape {self.features.shape} are not a table; {remedy}")

    def save(self, path: str | Path) -> Path:
        """Write to a file atomically.

        Args:
            path: `.npz` or `.safetensors` keep everything in one file; `.npy` keeps the features, and everything else
                in a `.npy.json` beside it.
        Returns:
            The path.
        Raises:
            FeatureFileError: another suffix, a folder or disk that cannot be written, or metadata that is not JSON.
        """
        metadata = {
            "skipped": [asdict(window) for window in self.skipped],
            "warnings": list(self.warnings),
            "meta": dict(self.meta),
        }
        return write_features(Path(path), {name: getattr(self, name) for name in ARRAY_DTYPES}, metadata)

    @classmethod
    def load(cls, path: str | Path) -> VideoFeatures:
        """Read what `save` wrote. No code in the file is executed.

        Args:
            path: `.npz`, `.safetensors`, or the `.npy` of a pair.
        Raises:
            FeatureFileError: no such file, one that `save` did not write, or one whose arrays do not match their
                checksum.
        """
        path = Path(path)
        try:
            arrays, metadata = read_features(path)
            rows: dict[str, Any] = {name: arrays[name] for name in ARRAY_DTYPES}
            features = cls(**rows, **_checked(metadata))
            check_checksum(rows, metadata)
            return features
        except FileNotFoundError as error:
            raise FeatureFileError(f"no such feature file: {error.filename or path}") from error
        except (FeatureFileError, ShapeError) as error:
            raise FeatureFileError(f"{path}: {error}") from error
        except Exception as error:  # for a broken or hostile file, numpy, zip and JSON raise many kinds of error
            raise FeatureFileError(f"{path} is not a feature file of marlin-sdk, or is truncated: {error!r}") from error


def _checked(metadata: dict[str, Any]) -> dict[str, Any]:
    skipped = tuple(SkippedWindow(**window) for window in metadata["skipped"])
    warnings, meta = metadata["warnings"], metadata["meta"]
    is_valid = all(
        isinstance(window.start_s + window.end_s, (int, float)) and isinstance(window.reason, str) for window in skipped
    )
    if not (is_valid and isinstance(warnings, list) and all(isinstance(warning, str) for warning in warnings)):
        raise FeatureFileError("its skipped windows or warnings are malformed")
    if not isinstance(meta, dict):
        raise FeatureFileError(f"its meta is a {type(meta).__name__}, expected an object")
    return {"skipped": skipped, "warnings": tuple(warnings), "meta": meta}
