"""What the networks of detectors and recognisers have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marlin_sdk.errors import WeightsError
from marlin_sdk.weights.identity import file_sha256

__all__ = ["errors_only", "weights_provenance"]


@contextmanager
def errors_only() -> Iterator[None]:
    """Silence OpenCV 5, which warns whenever a network is created that it ignores its own default target."""
    import cv2

    log = getattr(cv2.utils, "logging", None)  # OpenCV 4.10 has neither this module nor the warning
    level = log.getLogLevel() if log else None
    if log:
        log.setLogLevel(log.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        if log:
            log.setLogLevel(level)


def weights_provenance(weights: Path) -> dict[str, str]:
    """Name and sha256 of a file of weights, for the metadata of features.

    Raises:
        WeightsError: no such file.
    """
    if not weights.is_file():
        raise WeightsError(f"no such file of weights: {weights}")
    return {"file": weights.name, "sha256": file_sha256(weights)}
