"""The Inception-v3 of the Fréchet Inception Distance, for weights as pytorch-fid and torch-fidelity publish them.

It is the network of Szegedy et al. (2015, "Rethinking the Inception Architecture") as TensorFlow had it in December
2015. It differs from torchvision's: averages leave out the padding, and the last block takes a maximum.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from marlin_sdk.errors import WeightsError
from marlin_sdk.runtime.torch import resolve_device
from marlin_sdk.weights.tensors import read_tensors

__all__ = ["FEATURES", "Inception", "load_inception", "resize"]

FEATURES = 2048
"""Numbers that it makes of a picture."""

_SIDE_PX = 299
_CLASSES = 1008  # of the classifier in the file, which is not used; torchvision's has 1000
_LISTED = 5


class _Conv(NamedTuple):
    """A convolution; one of stride 2 has no padding."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


_Branch = tuple[_Conv | tuple[_Conv, _Conv] | str, ...]  # two convolutions run side by side; a word is a pooling
_WIDE, _TALL, _3X3, _5X5 = (1, 7), (7, 1), (3, 3), (5, 5)


def _block_35(pooled: int) -> tuple[_Branch, ...]:
    return (
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, _5X5)),
        (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, _3X3), _Conv("branch3x3dbl_3", 96, _3X3)),
        ("mean", _Conv("branch_pool", pooled)),
    )


def _block_17(inner: int) -> tuple[_Branch, ...]:
    kernels = ((1, 1), _TALL, _WIDE, _TALL, _WIDE)
    channels = (inner, inner, inner, inner, 192)
    long = zip((f"branch7x7dbl_{number}" for number in range(1, 6)), channels, kernels, strict=True)
    return (
        (_Conv("branch1x1", 192),),
        (_Conv("branch7x7_1", inner), _Conv("branch7x7_2", inner, _WIDE), _Conv("branch7x7_3", 192, _TALL)),
        tuple(_Conv(*step) for step in long),
        ("mean", _Conv("branch_pool", 192)),
    )


def _block_8(pooling: str) -> tuple[_Branch, ...]:
    def crossed(name: str) -> tuple[_Conv, _Conv]:
        return _Conv(f"{name}a", 384, (1, 3)), _Conv(f"{name}b", 384, (3, 1))

    return (
        (_Conv("branch1x1", 320),),
        (_Conv("branch3x3_1", 384), crossed("branch3x3_2")),
        (_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, _3X3), crossed("branch3x3dbl_3")),
        (pooling, _Conv("branch_pool", 192)),
    )


_TO_17: tuple[_Branch, ...] = (
    (_Conv("branch3x3", 384, _3X3, 2),),
    (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, _3X3), _Conv("branch3x3dbl_3", 96, _3X3, 2)),
    ("halve",),
)
_TO_8: tuple[_Branch, ...] = (
    (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, _3X3, 2)),
    (
        _Conv("branch7x7x3_1", 192),
        _Conv("branch7x7x3_2", 192, _WIDE),
        _Conv("branch7x7x3_3", 192, _TALL),
        _Conv("branch7x7x3_4", 192, _3X3, 2),
    ),
    ("halve",),
)
_BLOCKS = {
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": _TO_17,
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": _TO_8,
    "Mixed_7b": _block_8("mean"),
    "Mixed_7c": _block_8("max"),
}


class _Unit(nn.Module):
    """A convolution, its normalisation, and what of it is above 0."""

    def __init__(self, channels_in: int, layout: _Conv, *, padded: bool) -> None:
        super().__init__()
        high, wide = layout.kernel
        around = (high // 2, wide // 2) if padded else 0
        self.conv = nn.Conv2d(channels_in, layout.channels, layout.kernel, layout.stride, around, bias=False)
        self.bn = nn.BatchNorm2d(layout.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Branches side by side, whose channels are joined."""

    def __init__(self, channels_in: int, branches: tuple[_Branch, ...]) -> None:
        super().__init__()
        self._branches = branches
        self.channels = 0
        for branch in branches:
            channels = channels_in
            for step in branch:
                if not isinstance(step, str):
                    for layout in _convs(step):
                        self.add_module(layout.name, _Unit(channels, layout, padded=layout.stride == 1))
                    channels = sum(layout.channels for layout in _convs(step))
            self.channels += channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(branch, x) for branch in self._branches], dim=1)

    def _run(self, branch: _Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, str):
                x = _pooled(step, x)
            else:
                x = torch.cat([self.get_submodule(layout.name)(x) for layout in _convs(step)], dim=1)
        return x


def _convs(step: _Conv | tuple[_Conv, _Conv]) -> tuple[_Conv, ...]:
    return (step,) if isinstance(step, _Conv) else step


def _pooled(how: str, x: Tensor) -> Tensor:
    if how == "mean":
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return functional.max_pool2d(x, 3, 1, 1) if how == "max" else functional.max_pool2d(x, 3, 2)


class Inception(nn.Module):
    """Turns pictures into the features that the Fréchet Inception Distance compares.

    Its weights are random; `load_inception` fills them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, _Conv("", 32, _3X3, 2), padded=False)
        self.Conv2d_2a_3x3 = _Unit(32, _Conv("", 32, _3X3), padded=False)
        self.Conv2d_2b_3x3 = _Unit(32, _Conv("", 64, _3X3), padded=True)
        self.Conv2d_3b_1x1 = _Unit(64, _Conv("", 80), padded=False)
        self.Conv2d_4a_3x3 = _Unit(80, _Conv("", 192, _3X3), padded=False)
        channels = 192
        for name, branches in _BLOCKS.items():
            block = _Block(channels, branches)
            self.add_module(name, block)
            channels = block.channels

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures.

        Args:
            pictures: float (B, 3, H, W), RGB, range [0, 1]; they are resized, unless they have been.
        Returns:
            (B, 2048), the mean over the last block's positions.
        """
        x: Tensor = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * resize(pictures) - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_pooled("halve", x)))
        x = _pooled("halve", x)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def resize(pictures: Tensor) -> Tensor:
    """Resize pictures as pytorch-fid does: bilinear, without smoothing.

    Args:
        pictures: float (B, 3, H, W).
    Returns:
        (B, 3, 299, 299).
    """
    resized: Tensor = functional.interpolate(pictures, size=(_SIDE_PX, _SIDE_PX), mode="bilinear", align_corners=False)
    return resized


def load_inception(path: str | Path, *, device: str = "auto") -> Inception:
    """Load the network with weights of your own; no code in the file is executed.

    Args:
        path: a state dict, `.pth` or `.safetensors`, such as `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, or
            `weights-inception-2015-12-05-6726825d.pth` of torch-fidelity.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" is CUDA if available.
    Raises:
        ConfigError: an unknown device, or one that is not there.
        WeightsError: not a state dict, unsafe to open, not finite, or of another network.
    """
    path, resolved = Path(path), resolve_device(device)
    state, _ = read_tensors(path)
    classifier = state.get("fc.weight")
    if classifier is not None and len(classifier) != _CLASSES:
        raise WeightsError(
            f"{path} has a classifier of {len(classifier)} classes; expected {_CLASSES}, as of the weights that FID is "
            "defined by: those of torchvision give numbers that cannot be compared with anybody's"
        )
    unused = ("fc.", "AuxLogits.")
    kept = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(unused) and not name.endswith(".num_batches_tracked")
    }
    with torch.device("meta"):
        network = Inception()
    expected = {
        name: tensor.shape for name, tensor in network.state_dict().items() if not name.endswith(".num_batches_tracked")
    }
    wrong = sorted(name for name in expected.keys() | kept.keys() if expected.get(name) != _shape(kept.get(name)))
    if wrong:
        raise WeightsError(
            f"{path} does not hold the Inception network of FID: {len(wrong)} tensors are missing, unexpected or of "
            f"another shape, such as {', '.join(wrong[:_LISTED])}"
        )
    if bad := sorted(name for name, tensor in kept.items() if not torch.isfinite(tensor).all()):
        raise WeightsError(f"{path} holds NaN or infinity in {', '.join(bad[:_LISTED])}")
    network = network.to_empty(device="cpu")
    network.load_state_dict({name: tensor.float() for name, tensor in kept.items()}, strict=False)
    return network.to(resolved).requires_grad_(False).eval()


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape
