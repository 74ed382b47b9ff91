"""The engine for a cluster: Ray Data distributes videos to actors, each of which runs a `LocalEngine`."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlin_sdk.batch.progress import Progress
from marlin_sdk.batch.ray_actor import ActorTask, Embedder, Gate, pack, unpack
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.run import RunSummary, make_dump
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import ids_by_source, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.inputs.tables import videos_of_rows
from marlin_sdk.inputs.videos import VideoInput, deduplicate, find_videos

__all__ = ["ActorPlan", "RayEngine", "embed", "plan_actors"]

_VIDEOS_PER_TASK = 32  # what an actor takes at a time, and what is repeated when it dies
_CPUS_PER_ACTOR = 4  # without GPUs; more threads gain little


@dataclass(frozen=True)
class ActorPlan:
    """How the actors share a cluster.

    Attributes:
        actors: number of actors.
        cpus: cores per actor.
        gpus: GPUs per actor.
    """

    actors: int
    cpus: int
    gpus: float

    @property
    def workers(self) -> int:
        """Worker processes per actor; without a GPU, half of its cores are left to the model."""
        return self.cpus if self.gpus else max(1, self.cpus // 2)


def plan_actors(nodes: Sequence[Mapping[str, float]], *, actors: int | None, device: str) -> ActorPlan:
    """Divide a cluster: one actor per GPU with its share of that node's cores, or else one per few cores.

    Args:
        nodes: "CPU" and "GPU" resources of each node.
        actors: number of actors; None is as many as fit.
        device: "auto", "cpu" or "cuda".
    Raises:
        ConfigError: a device that actors cannot use, or that the cluster lacks.
    """
    if actors is not None and actors < 1:
        raise ConfigError(f"actors is {actors}; expected at least 1")
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is {device!r}; with Ray, expected auto, cpu or cuda: Ray assigns the GPUs")
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if device == "cuda" and not with_gpu:
        raise ConfigError(
            "device is 'cuda', but no node of the Ray cluster has a GPU; use cpu, or add a node with a GPU"
        )
    if with_gpu and device != "cpu":
        cpus = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu)
        fit = int(sum(node["GPU"] for node in with_gpu))
        return ActorPlan(min(actors or fit, fit), max(1, cpus), 1)
    cores = [int(node.get("CPU", 0)) for node in nodes]
    for cpus in range(min(_CPUS_PER_ACTOR, max(cores, default=1)), 1, -1):
        fit = sum(count // cpus for count in cores)
        if fit >= (actors or 1):
            return ActorPlan(actors or fit, cpus, 0)
    return ActorPlan(actors or max(1, sum(cores)), 1, 0)


class RayEngine:
    """Embeds many videos on a Ray cluster. It connects when it is constructed, and can run once.

    An actor that died is restarted, and its current task of up to 32 videos is repeated; after three deaths these are
    recorded as failed. Within an actor, a worker process that dies, hangs or takes too much memory is replaced as in
    `LocalEngine`.

    Args:
        recipe: model, detector and settings; picklable, with files that exist on every node.
        address: address of a running cluster; None uses RAY_ADDRESS, or else starts a cluster on this machine, which
            listens on the loopback interface only and ends with the run.
        actors: number of actors; by default one per GPU, or else one per 4 cores.
        device: "auto", "cpu" or "cuda".
        limits: when a worker process of an actor is replaced.
    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster cannot be reached, or lacks the requested resources.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        address: str | None = None,
        actors: int | None = None,
        device: str = "auto",
        limits: WorkerLimits | None = None,
    ) -> None:
        self._owns_cluster = _connect(address or os.environ.get("RAY_ADDRESS"))
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.plan = plan_actors(nodes, actors=actors, device=device)
        self._recipe = recipe
        self._device = "cuda" if self.plan.gpus else "cpu"
        self._limits = limits or WorkerLimits()

    def run(
        self,
        videos: Iterable[VideoInput],
        *,
        drain: threading.Event | None = None,
        on_rows: Callable[[int], object] = lambda _: None,
    ) -> Generator[VideoResult, None, None]:
        """Embed videos; each result is yielded as soon as it is complete, not in input order.

        Args:
            videos: with unique ids.
            drain: once set, no new video is started; those in flight are finished.
            on_rows: called with the number of rows of each embedded video.
        Raises:
            MarlinError: an error that affects every video.
        """
        import ray

        left = {video.id: video for video in videos}
        drain = drain or threading.Event()
        gate = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Gate).remote()
        try:
            with _close_on(drain, gate), _data_settings():
                for cell in self._cells(list(left.values()), gate) if left else ():
                    result = unpack(cell)
                    if isinstance(result, Exception):
                        raise result
                    if left.pop(result.video.id, None) is not None:
                        on_rows(len(result.features) if result.features else 0)
                        yield result
        finally:
            ray.kill(gate)
            if self._owns_cluster:
                ray.shutdown()

    def _cells(self, videos: list[VideoInput], gate: Any) -> Iterator[bytes]:
        """The packed results."""
        import ray

        plan = self.plan
        each = max(1, min(_VIDEOS_PER_TASK, len(videos) // (4 * plan.actors)))
        task = ActorTask(self._recipe, self._device, plan.workers, self._limits, _start_folder(self._recipe, videos))
        rows = [{"video": pack(video)} for video in videos]
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // each))
        results = dataset.map_batches(
            Embedder,
            fn_constructor_args=(task, gate),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=plan.actors),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
        )
        for batch in results.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            yield from batch["result"]


def embed(
    dataset_or_paths: Any,
    output: str | Path,
    *,
    recipe: Recipe | None = None,
    format: str = "parquet",
    shard_rows: int = 20_000,
    retry_failed: bool = True,
    overwrite: bool = False,
    address: str | None = None,
    actors: int | None = None,
    device: str = "auto",
    limits: WorkerLimits | None = None,
    progress: Progress | None = None,
    drain: threading.Event | None = None,
) -> RunSummary:
    """Embed videos on a Ray cluster, into a resumable folder: a second call embeds what is missing or failed.

    Ray Data's own checkpoints are not used: the manifest records finished videos by id, for this engine and the local
    one, so either can resume a dump of the other.

    Args:
        dataset_or_paths: a path, folder, pattern or URL, or several; or a Ray dataset with a column "path", and
            optionally "id", "start_s", "end_s", "track" and labels, as in a table of inputs.
        output: folder of the dump, on this machine; results are sent to it.
        recipe: model, detector and settings; by default ViT-B with YuNet.
        format: parquet, webdataset, npz, npy or safetensors.
        shard_rows: approximate rows per file, for parquet and webdataset.
        retry_failed: retry videos that failed in an earlier run.
        overwrite: start over; an existing dump is replaced.
        address: see `RayEngine`.
        actors: see `RayEngine`.
        device: see `RayEngine`.
        limits: see `RayEngine`.
        progress: receives the events of the run; by default only failures are printed.
        drain: once set, no new video is started, those in flight are finished, and the dump is closed.
    Returns:
        What this run did.
    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the folder is locked, or was made with other settings; or the inputs are invalid.
        FeatureFileError: the disk is full or cannot be written.
        MarlinError: an error that affects every video.
    """
    recipe = recipe or Recipe()
    plan = DumpPlan(Path(output), format, Shard(1, 1), shard_rows, retry_failed, overwrite)
    engine = RayEngine(recipe, address=address, actors=actors, device=device, limits=limits)
    known = {} if overwrite else ids_by_source(read_manifest(plan.folder))
    videos = _videos_of(dataset_or_paths, known)
    identity = recipe.identity(recipe.load_model("cpu"))
    return make_dump(videos, engine, plan, identity, progress=progress, drain=drain)


def _videos_of(dataset_or_paths: Any, known: Mapping[str, str]) -> Sequence[VideoInput]:
    if isinstance(dataset_or_paths, str | Path):
        return find_videos([str(dataset_or_paths)], known=known)
    if not hasattr(dataset_or_paths, "iter_rows"):
        return find_videos([str(path) for path in dataset_or_paths], known=known)
    rows = [{name: _cell(value) for name, value in row.items()} for row in dataset_or_paths.iter_rows()]
    return deduplicate(videos_of_rows(rows, "the Ray dataset", known=known))


def _cell(value: Any) -> str:
    """The value as in a CSV; NaN is the missing value of pandas."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _connect(address: str | None) -> bool:
    """Connect to a cluster, or start one.

    Returns:
        Whether it was started here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics to the makers of Ray
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("the Ray engine", "ray") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return False
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                "local",
                _node_ip_address="127.0.0.1",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"the Ray cluster at {address or 'this machine'} cannot be used: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray replaces it with its own
    return address is None


@contextmanager
def _close_on(drain: threading.Event, gate: Any) -> Iterator[None]:
    """While the block runs, close the gate once `drain` is set."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            if drain.is_set():
                gate.close.remote()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _data_settings() -> Iterator[None]:
    """Change the process-wide settings of Ray Data while the block runs."""
    from ray.data import DataContext

    ours = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "target_max_block_size": 1,  # each result on its own, as soon as it is complete
    }
    context = DataContext.get_current()
    before = {name: getattr(context, name) for name in ours if hasattr(context, name)}
    try:
        for name in before:
            setattr(context, name, ours[name])
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


def _start_folder(recipe: Recipe, videos: Iterable[VideoInput]) -> str | None:
    """The base folder of relative paths; None if there are none."""
    names = [recipe.model, recipe.detector, recipe.cache_dir]
    local = [str(name) for name in names if isinstance(name, str | Path) and Path(name).exists()]
    paths = (*local, *(video.source for video in videos if "://" not in video.source))
    return None if all(Path(path).is_absolute() for path in paths) else str(Path.cwd())
