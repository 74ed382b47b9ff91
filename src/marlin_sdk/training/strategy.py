"""Devices, precision and parallel strategy, with Lightning Fabric."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.model.layers import Block

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")

__all__ = [
    "DeviceSettings",
    "any_process",
    "average",
    "gather",
    "is_first_process",
    "joint_count",
    "joint_mean",
    "launch",
    "loader_workers",
    "total",
]


class DeviceSettings(Protocol):
    """The settings of a training run that Fabric needs."""

    @property
    def accelerator(self) -> str:
        """ "auto", "cpu" or "cuda"."""

    @property
    def devices(self) -> int:
        """Devices, or CPU processes, on each node."""

    @property
    def num_nodes(self) -> int:
        """Machines."""

    @property
    def precision(self) -> str:
        """ "bf16-mixed" or "32-true"; "auto" is the first on CUDA, the second on a CPU."""

    @property
    def strategy(self) -> str:
        """ "auto" is "ddp" on several devices; "fsdp" shards weights and optimiser states."""


def launch(config: DeviceSettings, *, parts_rest: bool = False) -> Fabric:
    """Start the processes of a run; this returns in each of them.

    Args:
        config: devices, precision and strategy.
        parts_rest: some weights get no gradient in some steps; DDP then looks for them.
    Raises:
        ConfigError: the requested devices are not available.
        MissingExtraError: Lightning is not installed.
    """
    try:
        import tensorboard  # noqa: F401 - Lightning's logger imports it only when it first writes
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
    except ImportError as error:
        raise MissingExtraError("Training", "train") from error
    accelerator = config.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    available = torch.cuda.device_count()
    if accelerator == "cuda" and config.devices > available:
        raise ConfigError(f"{config.devices} CUDA devices are requested; torch {torch.__version__} sees {available}")
    precision: Any = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    several = config.devices * config.num_nodes > 1
    strategy: Any = ("ddp_find_unused_parameters_true" if parts_rest else "ddp") if several else "auto"
    if config.strategy == "fsdp":
        # The warning applies to in-place changes of the output; the losses make none.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        world = config.devices * config.num_nodes
        # FSDP2; by default Lightning would use the devices of a node for tensor parallelism.
        strategy = ModelParallelStrategy(_shard, data_parallel_size=world, tensor_parallel_size=1)
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place; with one process the tensor is unchanged."""
    if _processes() > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def any_process(flag: bool) -> bool:
    """Whether a flag is set on any process, so that all do the same. A collective call."""
    return bool(total(torch.tensor(float(flag), device=_collective_device()))) if _processes() > 1 else flag


def average(tensor: Tensor) -> Tensor:
    """The mean over all processes, in place."""
    return total(tensor).div_(_processes()) if _processes() > 1 else tensor


class _JointMean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        return average(tensor.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return average(gradient.clone())


def joint_mean(tensor: Tensor) -> Tensor:
    """The mean over all processes, through which gradients flow, to all of them."""
    if _processes() == 1:
        return tensor
    mean: Tensor = _JointMean.apply(tensor)  # type: ignore[no-untyped-call]
    return mean


def joint_count(count: int) -> int:
    """Items of all processes, each of which has as many."""
    return count * _processes()


def gather(values: T) -> list[T]:
    """The values of each process, in the order of their ranks; anything that can be pickled. A collective call."""
    gathered: list[T] = [values] * _processes()
    if _processes() > 1:
        torch.distributed.all_gather_object(gathered, values)
    return gathered


def loader_workers(asked: int | None, fabric: Fabric, *, devices: int) -> int:
    """Data loader processes of each device.

    Args:
        asked: by the user; None leaves cores to the steps on a CPU, of which loading takes a seventh, and takes up to
            four a GPU.
        fabric: launched.
        devices: of this machine.
    """
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if fabric.device.type == "cpu":
        return int(cores > devices)
    return max(1, min(4, cores // devices - 1))


def is_first_process() -> bool:
    """Whether this process has rank 0."""
    return _processes() == 1 or torch.distributed.get_rank() == 0


def _collective_device() -> torch.device:
    nccl = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def _processes() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def _shard(network: torch.nn.Module, mesh: DeviceMesh) -> torch.nn.Module:
    """Shard each block, and the remaining parameters, over the devices."""
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigError(f'strategy "fsdp" needs torch 2.6 or later; this is {torch.__version__}') from error
    for block in network.modules():
        if isinstance(block, Block):
            fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(network, mesh=mesh["data_parallel"])
    return network
