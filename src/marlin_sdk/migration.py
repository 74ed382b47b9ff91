"""Names of marlin-pytorch, and of torch modules, that this package spells otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["NEW_NAMES", "ExplainsOldNames"]

NEW_NAMES: Mapping[str, str] = {
    "from_online": 'Marlin.from_pretrained("marlin_vit_base_ytf")',
    "from_file": 'Marlin.from_pretrained("path/to/x.encoder.pt")',
    "extract_features": "model.extract_clip(clips, keep_seq=True); without keep_seq, their mean",
    "forward": "model.extract_clip(clips), model.reconstruct(clips), or model.encoder(clips) for gradients",
    "__call__": "model.extract_clip(clips), model.reconstruct(clips), or model.encoder(clips) for gradients",
    "cuda": 'model.to("cuda")',
    "cpu": 'model.to("cpu")',
    "half": 'model.to("float16")',
    "float": 'model.to("float32")',
    "eval": "nothing: a model is always in evaluation mode",
    "train": "model.encoder.requires_grad_(), and your own loop over model.encoder",
    "parameters": "model.encoder.parameters()",
    "state_dict": "model.encoder.state_dict(), or model.save_pretrained(folder)",
    "load_state_dict": 'Marlin.from_pretrained("path/to/weights")',
    "load_video": "model.extract(video)",
    "clean_cache": "nothing: downloads lie in the Hub's own cache",
}
"""What to write instead, by old name."""


def _explain(name: str) -> str | None:
    """What to write instead of a name of marlin-pytorch or of `nn.Module`; None for any other name."""
    new = NEW_NAMES.get(name)
    what = "calling a model" if name == "__call__" else repr(name)
    return None if new is None else f"{what} is marlin-pytorch's, or torch's; in marlin-sdk: {new}"


class _OldClassMethods(type):
    """Explains what replaces a class method of marlin-pytorch."""

    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(_explain(name) or f"type object {cls.__name__!r} has no attribute {name!r}")


class ExplainsOldNames(metaclass=_OldClassMethods):
    """A base class that explains what replaces the methods of marlin-pytorch and `nn.Module`."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_explain(name) or f"{type(self).__name__!r} object has no attribute {name!r}")

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Refused: say what is to be done with a clip.

        Raises:
            TypeError: always; the message says what to call.
        """
        raise TypeError(_explain("__call__"))
