"""An attentive head: which windows of a video matter is learned too."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

    from marlin_sdk.evaluation.probe.heads import Training

__all__ = ["AttentiveHead", "attention_module", "fit_attentive"]

_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # all at once, the best on the inner split is taken
_DECAY, _DROPOUT, _WIDTH = 0.05, 0.1, 128
_EPOCHS, _PATIENCE, _BATCH = 100, 10, 64
_MAX_WINDOWS = 4096  # of a video; of a longer one, windows at even distances


@dataclass(frozen=True, eq=False)
class AttentiveHead:
    """A learned query attends to a video's windows; a linear layer reads the result.

    Attributes:
        classes: names of the classes; empty for a regression.
        mean: float64 (F,), of the training part's windows.
        scale: float64 (F,).
        state: the module's tensors.
        rate: the learning rate that did best on the inner split.
        epochs: epochs until then.
        shift: mean and standard deviation of the numbers of a regression.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    state: Mapping[str, NDArray[np.float32]]
    rate: float
    epochs: int
    shift: tuple[float, float] = (0.0, 1.0)

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Head`."""
        import torch

        module = attention_module(len(self.mean), len(self.classes) or 1)
        module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in self.state.items()})
        module.eval()
        rows = _standardised(features, self.mean, self.scale)
        with torch.no_grad():
            found = [module(*batch) for batch in _batches(rows, ends, np.arange(len(ends)))]
        raw = torch.cat(found).double()
        if not self.classes:
            return np.asarray(raw.numpy() * self.shift[1] + self.shift[0])
        return np.asarray(raw.softmax(dim=1).numpy())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Head`."""
        state = {f"state.{name}": array for name, array in self.state.items()}
        return {"mean": self.mean, "scale": self.scale, **state}

    def settings(self) -> dict[str, Any]:
        """See `Head`."""
        return {"rate": self.rate, "epochs": self.epochs, "shift": list(self.shift)}

    @classmethod
    def from_arrays(
        cls, classes: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> AttentiveHead:
        """The inverse of `arrays` and `settings`."""
        state = {name.removeprefix("state."): array for name, array in arrays.items() if name.startswith("state.")}
        shift = (float(settings["shift"][0]), float(settings["shift"][1]))
        return cls(classes, arrays["mean"], arrays["scale"], state, settings["rate"], settings["epochs"], shift)


def fit_attentive(training: Training) -> AttentiveHead:
    """Train it with AdamW at five learning rates at once; stop early, and choose, on an inner split by group.

    Args:
        training: sequences of windows. Without inner folds, a tenth of the videos is the inner split.
    """
    import torch

    mean = training.features.mean(axis=0, dtype=np.float64)
    scale = training.features.std(axis=0, dtype=np.float64)
    scale[scale < 1e-12] = 1.0
    rows = _standardised(training.features, mean, scale)
    shift = (0.0, 1.0)
    values = torch.from_numpy(training.values)
    if not training.classes:
        shift = (float(training.values.mean()), float(training.values.std()) or 1.0)
        values = ((values - shift[0]) / shift[1]).float()
    random = np.random.default_rng(training.seed)
    fit, held = training.inner[0] if training.inner else _tenth(len(training.ends), random)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        modules = [attention_module(len(mean), len(training.classes) or 1) for _ in _RATES]
        for module in modules[1:]:
            module.load_state_dict(modules[0].state_dict())  # only the learning rate differs
        groups = [{"params": m.parameters(), "lr": rate} for m, rate in zip(modules, _RATES, strict=True)]
        optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
        best: tuple[float, int, int, dict[str, Tensor]] | None = None
        for epoch in range(1, _EPOCHS + 1):
            for module in modules:
                module.train()
            order = random.permutation(fit)
            for begin in range(0, len(order), _BATCH):
                some = order[begin : begin + _BATCH]
                windows, mask = next(_batches(rows, training.ends, some))
                loss = torch.stack([_loss(module(windows, mask), values[some]) for module in modules]).sum()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for index, error in enumerate(_errors(modules, rows, training.ends, held, values)):
                if best is None or error < best[0]:
                    best = (error, epoch, index, copy.deepcopy(modules[index].state_dict()))
            if best is not None and epoch - best[1] >= _PATIENCE:
                break
    assert best is not None  # an epoch was run
    state = {name: tensor.numpy() for name, tensor in best[3].items()}
    return AttentiveHead(training.classes, mean, scale, state, _RATES[best[2]], best[1], shift)


def attention_module(width: int, outputs: int) -> nn.Module:
    """The network of the head, of standardised windows (B, N, width) and a mask (B, N) to (B, outputs)."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Sequential(nn.Linear(width, _WIDTH), nn.GELU(), nn.LayerNorm(_WIDTH))
            self.query = nn.Parameter(torch.zeros(1, 1, _WIDTH))
            self.attend = nn.MultiheadAttention(_WIDTH, 4, batch_first=True)
            self.dropout = nn.Dropout(_DROPOUT)
            self.read = nn.Linear(_WIDTH, outputs)

        def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
            tokens = self.project(windows)
            query = self.query.expand(len(tokens), -1, -1)
            seen, _ = self.attend(query, tokens, tokens, key_padding_mask=~mask, need_weights=False)
            read: Tensor = self.read(self.dropout(seen[:, 0]))
            return read

    return Attention()


def _standardised(features: NDArray[np.float32], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> Tensor:
    import torch

    return torch.from_numpy(((features - mean) / scale).astype(np.float32))


def _batches(rows: Tensor, ends: NDArray[np.int64], chosen: NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
    """Padded windows (B, N, F) and their mask (B, N), True where there is a window, of up to 64 videos at a time."""
    import torch

    starts = np.concatenate([[0], ends[:-1]])
    for begin in range(0, len(chosen), _BATCH):
        pieces = [rows[starts[index] : ends[index]] for index in chosen[begin : begin + _BATCH]]
        pieces = [piece[:: -(-len(piece) // _MAX_WINDOWS)] for piece in pieces]
        windows = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
        lengths = torch.tensor([len(piece) for piece in pieces])
        yield windows, torch.arange(windows.shape[1])[None] < lengths[:, None]


def _loss(raw: Tensor, values: Tensor) -> Tensor:
    import torch.nn.functional as F  # noqa: N812

    return F.mse_loss(raw[:, 0], values) if values.is_floating_point() else F.cross_entropy(raw, values)


def _errors(
    modules: list[nn.Module], rows: Tensor, ends: NDArray[np.int64], held: NDArray[np.int64], values: Tensor
) -> list[float]:
    import torch

    errors = []
    with torch.no_grad():
        for module in modules:
            module.eval()
            raw = torch.cat([module(*batch) for batch in _batches(rows, ends, held)])
            errors.append(float(_loss(raw, values[held])))
    return errors


def _tenth(count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = random.permutation(count)
    held = max(1, count // 10)
    return order[held:], order[:held]
