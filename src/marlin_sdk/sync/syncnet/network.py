"""The architecture of SyncNet v2 (Chung and Zisserman, Out of time, 2016), for its public weights."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from marlin_sdk.errors import WeightsError
from marlin_sdk.weights.tensors import read_tensors

__all__ = ["FRAMES", "SIZE_PX", "STEPS", "SyncNet", "load_syncnet"]

FRAMES, SIZE_PX = 5, 224
"""Of the face, in a window."""

STEPS = 20
"""Of the cepstral coefficients, in a window."""

_WIDTH = 1024


class SyncNet(nn.Module):
    """Embeds five frames of a face, and 0.2 s of sound; modules are named as in the public weights."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_block2d(1, 64, padding=1), nn.MaxPool2d(1, 1),
            *_block2d(64, 192, padding=1), nn.MaxPool2d(3, (1, 2)),
            *_block2d(192, 384, padding=1),
            *_block2d(384, 256, padding=1),
            *_block2d(256, 256, padding=1), nn.MaxPool2d(3, 2),
            *_block2d(256, 512, kernel=(5, 4)),
        )  # fmt: skip
        self.netfcaud = _projection()
        self.netfclip = _projection()
        self.netcnnlip = nn.Sequential(
            *_block3d(3, 96, kernel=(5, 7, 7), stride=2), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(96, 256, kernel=(1, 5, 5), stride=2, padding=1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
            *_block3d(256, 256, padding=1),
            *_block3d(256, 256, padding=1),
            *_block3d(256, 256, padding=1), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(256, 512, kernel=(1, 6, 6)),
        )  # fmt: skip

    def embed_faces(self, frames: Tensor) -> Tensor:
        """Frames, float (N, 3, 5, 224, 224), BGR in [0, 255], to (N, 1024)."""
        out: Tensor = self.netfclip(self.netcnnlip(frames).flatten(1))
        return out

    def embed_sound(self, coefficients: Tensor) -> Tensor:
        """Coefficients, float (N, 1, 13, 20), to (N, 1024)."""
        out: Tensor = self.netfcaud(self.netcnnaud(coefficients).flatten(1))
        return out


def load_syncnet(path: str | Path) -> SyncNet:
    """Load the public weights from a file, without running its code.

    Args:
        path: a state dict, as `syncnet_v2.model` is, or safetensors.
    Raises:
        WeightsError: the file cannot be read safely, or holds another network.
    """
    state, _ = read_tensors(Path(path))
    network = SyncNet()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} does not hold the weights of SyncNet v2: {reason:.300}") from error
    return network.eval().requires_grad_(requires_grad=False)


def _block2d(
    before: int, after: int, *, kernel: int | tuple[int, int] = 3, padding: int = 0
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return nn.Conv2d(before, after, kernel, padding=padding), nn.BatchNorm2d(after), nn.ReLU()


def _block3d(
    before: int, after: int, *, kernel: tuple[int, int, int] = (1, 3, 3), stride: int = 1, padding: int = 0
) -> tuple[nn.Module, nn.Module, nn.Module]:
    around = (0, padding, padding)
    return nn.Conv3d(before, after, kernel, (1, stride, stride), around), nn.BatchNorm3d(after), nn.ReLU()


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, _WIDTH))
