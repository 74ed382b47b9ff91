"""Progress bars in terminals and in notebooks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm.std import tqdm

__all__ = ["bar_class"]


def bar_class() -> type[tqdm[Any]]:
    """tqdm: with widgets in a notebook that has ipywidgets, else as text; a notebook without them gets no warning."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)  # "IProgress not found", and then it falls back to text by itself
        from tqdm.auto import tqdm
    return tqdm
