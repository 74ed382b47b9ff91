"""The torch runtime: CPU or CUDA, fp32, bf16 or fp16."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, DeviceMemoryError
from marlin_sdk.model import Encoder
from marlin_sdk.model.layers import Attention
from marlin_sdk.runtime.cpu import is_amd
from marlin_sdk.runtime.inputs import to_floats

__all__ = ["DTYPES", "Dtype", "TorchRuntime", "resolve_device", "resolve_dtype"]

Dtype = Literal["float32", "bfloat16", "float16", "int8"]
DTYPES: tuple[str, ...] = get_args(Dtype)
_THREADS_PER_CLIP = 4  # that one clip keeps busy


class TorchRuntime:
    """Runs an `Encoder` in torch.

    Args:
        encoder: the network, with its weights.
        device: the device it runs on.
        dtype: of its weights and arithmetic. Features are always float32.
        compile: use torch.compile. The first clip then takes a minute or so longer, and so does the first of each new
            kind (tokens, another dtype). `layers` are never compiled.
    Raises:
        DeviceMemoryError: the weights do not fit into the device's memory.
    """

    def __init__(self, encoder: Encoder, *, device: torch.device, dtype: torch.dtype, compile: bool = False) -> None:
        self.encoder = encoder.eval()
        self._compiled = _compiled(encoder) if compile else None
        self.to(device, dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Without the compiled code, which is made anew."""
        return {**vars(self), "_compiled": self._compiled is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Compile again where it was compiled."""
        vars(self).update(state, _compiled=_compiled(state["encoder"]) if state["_compiled"] else None)

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""
        return self.encoder.config

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.encoder.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.encoder.norm.weight.dtype

    @property
    def provenance(self) -> Mapping[str, Any]:
        """See `EncoderRuntime.provenance`."""
        return {"name": "torch", "version": torch.__version__, "compiled": self._compiled is not None}

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Move the weights.

        Raises:
            ConfigError: not a floating-point dtype.
            DeviceMemoryError: they do not fit into the device's memory.
        """
        if dtype is not None and not dtype.is_floating_point:
            raise ConfigError(f"unknown dtype {dtype} for runtime='torch'; load with runtime='openvino', dtype='int8'")
        self._move(device or self.device, dtype or self.dtype)
        # On a GPU the limit is found when its memory runs out. On a CPU, more clips than that at once are no faster:
        # they only take memory.
        self._largest_batch = (
            max(1, torch.get_num_threads() // _THREADS_PER_CLIP) if self.device.type == "cpu" else None
        )
        # torch's bf16 attention uses MKL, which is slow on AMD; its linear layers use oneDNN, which is not.
        per_head = self.device.type == "cpu" and self.dtype == torch.bfloat16 and is_amd()
        for module in self.encoder.modules():
            if isinstance(module, Attention):
                module.per_head = per_head

    def _move(self, device: torch.device, dtype: torch.dtype) -> None:
        try:
            self.encoder.to(device=device, dtype=dtype)
        except torch.cuda.OutOfMemoryError as error:
            raise self._out_of_memory(device, dtype, "the model") from error

    @torch.no_grad()  # not inference_mode: a probe must be able to train on the features
    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """See `EncoderRuntime.encode`. A batch that does not fit into GPU memory is halved until it does.

        Raises:
            DeviceMemoryError: one clip does not fit.
        """
        limit = self._largest_batch or len(clips)
        if len(clips) > limit:
            parts = [clips[start : start + limit] for start in range(0, len(clips), limit)]
            return torch.cat([self.encode(part, keep_seq=keep_seq, layers=layers) for part in parts])
        try:
            return self._forward(clips, keep_seq, layers)
        except torch.cuda.OutOfMemoryError:
            pass  # continue outside the handler, whose traceback still references the failed batch's tensors
        torch.cuda.empty_cache()
        if len(clips) == 1:
            raise self._out_of_memory(self.device, self.dtype, "one clip")
        self._largest_batch = len(clips) // 2
        return self.encode(clips, keep_seq=keep_seq, layers=layers)

    def _out_of_memory(self, device: torch.device, dtype: torch.dtype, what: str) -> DeviceMemoryError:
        size_mb = sum(parameter.numel() for parameter in self.encoder.parameters()) * dtype.itemsize / 1e6
        precision = str(dtype).removeprefix("torch.")
        return DeviceMemoryError(
            f"no memory left on {device} for {what}; the weights take {size_mb:.1f} MB in {precision}; stop other "
            "processes there, or use dtype='float16', a smaller model, or device='cpu'"
        )

    def _forward(self, clips: Tensor, keep_seq: bool, layers: Sequence[int] | None) -> Tensor:
        if self.device.type == "cuda" and clips.device.type == "cpu":
            clips = clips.pin_memory()  # copies from pageable memory are not asynchronous
        # Converted to floats on the device: bytes are a quarter of the data to copy.
        pixels = to_floats(clips.to(self.device, non_blocking=True)).to(self.dtype)
        pool: Literal["none", "mean"] = "none" if keep_seq else "mean"
        if layers is None:
            out = (self.encoder if self._compiled is None else self._compiled)(pixels, pool=pool)
        else:
            out = self.encoder.intermediate(pixels, layers, pool=pool)
        features: Tensor = out.float()
        return features


def _compiled(encoder: Encoder) -> Callable[..., Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's compiler still uses parts of torch.jit
        compiled: Callable[..., Tensor] = torch.compile(encoder)
    return compiled


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of a name; "auto" is CUDA if available, else the CPU.

    Raises:
        ConfigError: an unknown or unavailable device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"unknown device {device!r}; expected auto, cpu, cuda or cuda:N") from error
    if found.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not supported; expected auto, cpu, cuda or cuda:N")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {str(device)!r} is not available: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices; use device='cpu', or install a torch build for your driver"
        )
    return found


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch dtype of a name.

    Raises:
        ConfigError: not one of float32, bfloat16, float16 and int8.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ConfigError(f"unknown dtype {str(dtype)!r}; expected one of {', '.join(DTYPES)}")
    found: torch.dtype = getattr(torch, name)
    return found
