"""The weights of a loaded model, which its user may change, and their identity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from marlin_sdk._version import __version__
from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.locked import Locked
from marlin_sdk.weights.card import PAPER, ModelCard, licence_of
from marlin_sdk.weights.hub import OWNER
from marlin_sdk.weights.identity import describe_weights
from marlin_sdk.weights.publish import weights_sha256

__all__ = ["WeightsInMemory", "describe"]

_WIDTH = 512


class WeightsInMemory(Locked):
    """The networks of a model and the identity of their weights.

    As long as nobody has been given a network, its weights are those that were loaded, and their identity costs
    nothing. From then on they are compared, each time, with what they were: by their contents, because PyTorch does not
    count every way to change a tensor (`tensor.data`, NumPy).

    Args:
        loaded: identity of the weights as they were loaded.
        networks: by the prefix of their keys, "encoder" and "decoder"; none of a runtime without torch networks.
    """

    def __init__(self, loaded: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._loaded = dict(loaded)
        self._networks = dict(networks)
        self._as_loaded: str | None = None  # digest of the loaded weights, taken when a network is first given away
        self._digest, self._current = "", self._loaded  # of the last look

    def state(self) -> dict[str, Tensor]:
        """The tensors, under this package's keys."""
        return {
            f"{prefix}.{name}": tensor
            for prefix, network in self._networks.items()
            for name, tensor in network.state_dict().items()
        }

    def give_away(self) -> None:
        """Look at the weights before somebody gets a network, who may change them."""
        with self._lock:
            if self._as_loaded is None:
                self._as_loaded = _digest(self.state())

    @property
    def loaded(self) -> Mapping[str, Any]:
        """The identity of the weights as they were loaded."""
        return self._loaded

    @property
    def identity(self) -> Mapping[str, Any]:
        """The identity of the weights as they are: the loaded one, or that of the file that would hold them."""
        with self._lock:
            if self._as_loaded is None:
                return self._loaded
            state = self.state()
            digest = _digest(state)
            if digest == self._as_loaded:
                return self._loaded
            if digest != self._digest:
                name = f"{self._loaded['model']}, changed in memory"
                described = describe_weights(name, None, weights_sha256(state))
                self._digest, self._current = digest, {**described, "config": self._loaded["config"]}
            return self._current

    @property
    def is_changed(self) -> bool:
        """Whether the weights are no longer those that were loaded."""
        return self.identity is not self._loaded

    def moved(self, *, as_loaded: bool) -> None:
        """Take note that the weights were moved to another device or dtype.

        Args:
            as_loaded: whether they are what loading to that device and dtype gives.
        """
        with self._lock:
            if not as_loaded:
                self._as_loaded = ""  # no weights have this digest
            elif self._as_loaded is not None:
                self._as_loaded = _digest(self.state())


def describe(name: str, weights: WeightsInMemory, size: ModelConfig, licence: str | None) -> ModelCard:
    """The card of weights in memory: what they were loaded from, and whether they are still that.

    Args:
        name: of the model.
        weights: of the model.
        size: of the model.
        licence: see `licence_of`.
    Raises:
        ConfigError: see `licence_of`.
    """
    loaded = weights.loaded
    source = str(loaded["model"])
    if loaded["untrained"]:
        origin = f"random weights (seed {loaded['seed']})"
    else:
        known = loaded["commit"] or f"SHA-256 {loaded['weights_sha256']}"
        origin = f"{source} ({known})"
    changed = "were changed since, such as by training" if weights.is_changed else "are still the same"
    base = source if loaded["commit"] and "/" in source else f"{OWNER}/{source}" if source in PRESETS else None
    return ModelCard(
        name=name,
        size=size,
        summary=f"A face-video encoder after MARLIN ({PAPER}), saved with marlin-sdk {__version__}.",
        licence=(licence or "other") if loaded["untrained"] else licence_of(source, licence),
        base=None if loaded["untrained"] else base,
        sections={"Origin": f"The weights were loaded from {origin}, and {changed}."},
    )


def _digest(state: Mapping[str, Tensor]) -> str:
    """A digest of tensors that reads them once, where they are.

    Of each tensor, as a table of 64-bit words, the sums of all rows and columns are hashed: no change of one word, nor
    an exchange of two, leaves both as they were. A cryptographic hash of all words would take five times as long.
    """
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        words = _words(tensor)
        table = words[: len(words) // _WIDTH * _WIDTH].view(-1, _WIDTH)
        sums = torch.cat([table.sum(dim=0), table.sum(dim=1), words[table.numel() :]])
        digest.update(sums.cpu().numpy().tobytes())
    return digest.hexdigest()


def _words(tensor: Tensor) -> Tensor:
    """The memory of a tensor as 64-bit words; copied if it is not made of such."""
    octets = tensor.detach().contiguous().flatten().view(torch.uint8)
    if missing := -octets.numel() % 8:
        octets = nn.functional.pad(octets, (0, missing))
    elif octets.storage_offset() % 8:
        octets = octets.clone()
    return octets.view(torch.int64)
