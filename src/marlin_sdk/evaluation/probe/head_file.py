"""A fitted head on disk: `head.safetensors` for its arrays, `head.json` for the rest; nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.settings import weights_name
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.evaluation.probe.attentive import AttentiveHead
from marlin_sdk.evaluation.probe.heads import Head, LinearHead, NeighbourHead
from marlin_sdk.evaluation.probe.samples import Pooling, pool_rows
from marlin_sdk.features import VideoFeatures

__all__ = ["HEAD_FILE", "FittedHeads", "load_heads", "save_heads"]

HEAD_FILE = "head.json"
"""Written last: where it is, the head is whole."""

_MAKERS: dict[str, Callable[..., Head]] = {
    "logistic": LinearHead.from_arrays,
    "ridge": LinearHead.from_arrays,
    "marlin": LinearHead.from_arrays,
    "knn": NeighbourHead.from_arrays,
    "attentive": AttentiveHead.from_arrays,
}
_MAX_WIDTH = 1 << 20  # numbers of a feature
_MAX_JSON, _MAX_BYTES = 1 << 24, 1 << 34
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class FittedHeads:
    """The heads of a probe, one a label, and the features that they are for.

    Attributes:
        heads: by label.
        name: the kind of head.
        pooling: of a video's windows; see `Pooling`.
        width: numbers in a window's feature.
        weights: identity of the weights whose features they were fitted on.
        identity: settings of the dump they were fitted on.
    """

    heads: dict[str, Head]
    name: str
    pooling: Pooling
    width: int
    weights: str
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def reduction(self) -> str:
        """What became of a video's windows in the dump: "none", "mean" or "max"."""
        settings = self.identity.get("settings")
        return str(settings.get("reduction", "none")) if isinstance(settings, dict) else "none"

    def scores(self, features: VideoFeatures) -> dict[str, NDArray[np.float64]]:
        """What the heads say of a video.

        Args:
            features: of a video, extracted with the settings of `identity`; not yet reduced, or as these say.
        Returns:
            For each label float64 (K,): the probability of each class, or the number.
        Raises:
            ConfigError: features of other weights or of another width, or without windows.
        """
        return {label: rows[0] for label, rows in self.scores_of([features]).items()}

    def scores_of(self, videos: Sequence[VideoFeatures]) -> dict[str, NDArray[np.float64]]:
        """What the heads say of several videos, or parts of one, at once.

        Args:
            videos: as in `scores`, at least one.
        Returns:
            For each label float64 (len(videos), K).
        Raises:
            ConfigError: as in `scores`.
        """
        for features in videos:
            if "untrained" in features.meta and (weights := weights_name(features.meta)) != self.weights:
                raise ConfigError(
                    f"features of the weights {weights}, but the head was fitted on those of {self.weights}; use the "
                    "same weights, or fit a head on features of these"
                )
        pooled = [np.atleast_2d(pool_rows(_reduced(one, self.reduction), self.pooling)) for one in videos]
        rows = np.concatenate(pooled)
        width = rows.shape[1] // _parts(self.pooling)
        if width != self.width:
            raise ConfigError(
                f"features of {width} numbers, but the head was fitted on {self.width}; use the same model and pool"
            )
        counts = [len(part) for part in pooled]
        ends = np.cumsum(counts if self.pooling == "sequence" else [], dtype=np.int64)
        scores = {label: head.scores(rows, ends) for label, head in self.heads.items()}
        if self.pooling == "none":
            starts = np.cumsum([0, *counts[:-1]])
            scores = {
                label: np.add.reduceat(of_windows, starts, axis=0) / np.array(counts)[:, None]
                for label, of_windows in scores.items()
            }
        return scores

    def check(self) -> None:
        """Try the heads on one row, so that arrays that do not fit together show at once.

        Raises:
            FeatureFileError: they do not fit, or hold NaN.
        """
        if (
            self.pooling not in get_args(Pooling)
            or type(self.width) is not int
            or not 0 < self.width <= _MAX_WIDTH
            or not isinstance(self.identity, dict)
        ):
            raise FeatureFileError(f"pooling {self.pooling!r:.80}, width {self.width!r:.80} or identity are malformed")
        row = np.zeros((1, self.width * _parts(self.pooling)), dtype=np.float32)
        ends = np.array([1] if self.pooling == "sequence" else [], dtype=np.int64)
        for label, head in self.heads.items():
            if not all(np.isfinite(array).all() for array in head.arrays().values()):
                raise FeatureFileError(f"the head of {label!r:.80} holds NaN or infinity")
            shape, scores = (1, len(head.classes) or 1), head.scores(row, ends)
            if scores.shape != shape or not np.isfinite(scores).all():
                raise FeatureFileError(f"the head of {label!r:.80} gives scores {scores}; expected finite ones {shape}")
        if not self.heads:
            raise FeatureFileError("there is no label")


def _reduced(features: VideoFeatures, reduction: str) -> VideoFeatures:
    if reduction not in ("mean", "max") or features.is_reduced or not len(features):
        return features
    vector = getattr(features.features, reduction)(axis=0)
    settings = {**features.meta.get("settings", {}), "reduction": reduction}
    return replace(features, features=np.asarray(vector, np.float32), meta={**features.meta, "settings": settings})


def _parts(pooling: str) -> int:
    """Numbers that the pooling makes of each of a window's."""
    return 2 if pooling == "mean+std" else 1


def save_heads(folder: Path, fitted: FittedHeads) -> None:
    """Write `head.safetensors` and `head.json`, each atomically.

    Raises:
        FeatureFileError: they cannot be written.
    """
    from safetensors.numpy import save_file

    tensors = {
        f"{index}.{name}": np.ascontiguousarray(array)
        for index, head in enumerate(fitted.heads.values())
        for name, array in head.arrays().items()
    }
    values = {
        "format": _FORMAT,
        "version": __version__,
        "head": fitted.name,
        "pooling": fitted.pooling,
        "width": fitted.width,
        "weights": fitted.weights,
        "identity": fitted.identity,
        "labels": [
            {"label": label, "classes": list(head.classes), "settings": head.settings()}
            for label, head in fitted.heads.items()
        ],
    }
    try:
        with atomic_path(folder / "head.safetensors") as part:
            save_file(tensors, part)
        with atomic_path(folder / HEAD_FILE) as part:
            part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write the head to {folder}: {error.strerror}") from error


def load_heads(folder: str | Path) -> FittedHeads:
    """Read the heads that a probe has written.

    Args:
        folder: output of `marlin-sdk probe`.
    Raises:
        FeatureFileError: it holds no head, or one that is damaged.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        for name, limit in ((HEAD_FILE, _MAX_JSON), ("head.safetensors", _MAX_BYTES)):
            if (size := (folder / name).stat().st_size) > limit:
                raise FeatureFileError(f"{folder / name} has {size:,} bytes; expected at most {limit:,}")
        values = json.loads((folder / HEAD_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / "head.safetensors")
        if values["format"] != _FORMAT:
            raise FeatureFileError(f"{folder} holds a head of format {values['format']!r}; expected {_FORMAT}")
        heads: dict[str, Head] = {}
        for index, label in enumerate(values["labels"]):
            own = {name.removeprefix(f"{index}."): a for name, a in tensors.items() if name.startswith(f"{index}.")}
            classes = tuple(str(name) for name in label["classes"])
            heads[str(label["label"])] = _MAKERS[values["head"]](classes, own, label["settings"])
        fitted = FittedHeads(
            heads, values["head"], values["pooling"], values["width"], str(values["weights"]), values["identity"]
        )
        fitted.check()
        return fitted
    except FeatureFileError as error:
        raise FeatureFileError(f"{folder} holds a head that cannot be used: {error}") from error
    except FileNotFoundError as error:
        raise FeatureFileError(
            f"{folder} holds no head.json and head.safetensors; expected the output of a probe"
        ) from error
    except Exception as error:  # for a damaged or hostile file, JSON and safetensors raise many kinds of error
        raise FeatureFileError(f"{folder} holds a head that cannot be read: {error!r:.300}") from error
