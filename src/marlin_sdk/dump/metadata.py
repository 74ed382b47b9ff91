"""Metadata of each video in a shard: with its rows, enough to restore its features unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.features import SkippedWindow, VideoFeatures
from marlin_sdk.features.files import ARRAY_DTYPES, check_checksum, checksum, row_shapes
from marlin_sdk.labels import is_label

__all__ = ["ROW_DTYPES", "VideoMetadata"]

ROW_DTYPES: dict[str, Any] = {name: dtype for name, dtype in ARRAY_DTYPES.items() if name != "features"}
"""Arrays that are stored per row besides its feature; see `VideoFeatures`."""

_ENTRY_FIELDS = frozenset(field.name for field in fields(ManifestEntry))


@dataclass(frozen=True)
class VideoMetadata:
    """Metadata of a video in a shard.

    Attributes:
        entry: its manifest entry.
        shape: shape of its features, rows first.
        num_steps: frames in a window.
        skipped: see `VideoFeatures`.
        warnings: see `VideoFeatures`.
        meta: see `VideoFeatures`.
        sha256: checksum of its arrays; None in shards of version 0.1.0.
    """

    entry: ManifestEntry
    shape: tuple[int, ...]
    num_steps: int
    skipped: tuple[SkippedWindow, ...]
    warnings: tuple[str, ...]
    meta: Mapping[str, Any]
    sha256: str | None = None

    @classmethod
    def of(cls, entry: ManifestEntry, features: VideoFeatures) -> VideoMetadata:
        """Collect the metadata of a video.

        Raises:
            ConfigError: a reduction has left one vector instead of rows.
        """
        shape = features.features.shape
        if features.is_reduced:
            raise ConfigError(
                f"{entry.id}: a reduction left one vector of shape {shape}, but shards store one row per window; "
                "use reduction='none', or format npz"
            )
        return cls(
            entry,
            shape,
            features.frame_index.shape[1],
            features.skipped,
            features.warnings,
            dict(features.meta),
            checksum(vars(features)),
        )

    def to_json(self) -> str:
        """One line of ASCII, without the line break.

        Raises:
            FeatureFileError: the metadata is not plain JSON.
        """
        try:
            return json.dumps(
                {
                    "entry": {key: value for key, value in asdict(self.entry).items() if value is not None},
                    "shape": self.shape,
                    "num_steps": self.num_steps,
                    "skipped": [asdict(window) for window in self.skipped],
                    "warnings": self.warnings,
                    "meta": self.meta,
                    "sha256": self.sha256,
                }
            )
        except (TypeError, ValueError) as error:
            raise FeatureFileError(f"{self.entry.id}: its metadata is not plain JSON: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes) -> VideoMetadata:
        """Parse and validate the output of `to_json`.

        Raises:
            FeatureFileError: it is malformed.
        """
        try:
            values = json.loads(text)
            entry = ManifestEntry(**{key: value for key, value in values["entry"].items() if key in _ENTRY_FIELDS})
            skipped = tuple(SkippedWindow(**window) for window in values["skipped"])
            shape, num_steps = tuple(values["shape"]), values["num_steps"]
            warnings, meta, sha256 = tuple(values["warnings"]), values["meta"], values.get("sha256")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FeatureFileError(f"the metadata of a video cannot be read: {error!r}") from error
        sizes = [*shape, num_steps]
        is_valid = (
            isinstance(entry.id, str)
            and (entry.labels is None or (isinstance(entry.labels, dict) and all(map(is_label, entry.labels.values()))))
            and len(shape) > 1
            and all(type(size) is int and size >= 0 for size in sizes)
            and all(isinstance(window.reason, str) for window in skipped)
            and all(
                isinstance(window.start_s, float | int) and isinstance(window.end_s, float | int) for window in skipped
            )
            and all(isinstance(warning, str) for warning in warnings)
            and isinstance(meta, dict)
            and isinstance(sha256, str | None)
        )
        if not is_valid:
            raise FeatureFileError(f"the metadata of the video {entry.id!r:.80} is malformed")
        return cls(entry, shape, num_steps, skipped, warnings, meta, sha256)

    def no_rows(self) -> dict[str, NDArray[Any]]:
        """Empty arrays for a video without rows, for `join`."""
        rows = {name: np.empty((0, *row_shapes(self.num_steps)[name]), dtype) for name, dtype in ROW_DTYPES.items()}
        return {"features": np.empty((0, *self.shape[1:]), np.float32), **rows}

    def join(self, arrays: Mapping[str, NDArray[Any]]) -> VideoFeatures:
        """Combine the metadata and the rows of a video.

        Args:
            arrays: "features", and those of `ROW_DTYPES`.
        Raises:
            FeatureFileError: they do not match.
        """
        rows = self.shape[0]
        features = np.asarray(arrays["features"])
        if features.dtype != np.float32 or features.size != math.prod(self.shape):
            raise FeatureFileError(
                f"{self.entry.id}: features {features.dtype} {features.shape}, expected float32 {self.shape}"
            )
        own: dict[str, Any] = {}
        for name, dtype in ROW_DTYPES.items():
            array, shape = np.asarray(arrays[name]), (rows, *row_shapes(self.num_steps)[name])
            if array.dtype != dtype or array.size != math.prod(shape):
                raise FeatureFileError(
                    f"{self.entry.id}: {name} {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
                )
            own[name] = array.reshape(shape)
        if self.sha256 is not None and rows:
            check_checksum({"features": features.reshape(self.shape), **own}, {"sha256": self.sha256})
        return VideoFeatures(
            features=features.reshape(self.shape),
            skipped=self.skipped,
            warnings=self.warnings,
            meta=self.meta,
            **own,
        )
