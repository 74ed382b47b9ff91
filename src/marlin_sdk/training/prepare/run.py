"""Prepare a folder of videos: select those still to do, process them in workers, record outcomes, pack shards."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from marlin_sdk.errors import ConfigError, NoFaceError
from marlin_sdk.processes import exit_with_parent
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import load_tools, prepare_source
from marlin_sdk.training.prepare.folder import DataFolder, Outcome, pack
from marlin_sdk.training.prepare.shards import Shard, read_shard
from marlin_sdk.training.prepare.sources import Source, find_sources, plan_sources
from marlin_sdk.training.prepare.split import Split, assign_splits, check_disjoint

__all__ = ["PrepareResult", "prepare"]

SHARD_BYTES = 256 * 2**20
_QUEUED_PER_WORKER = 4  # videos, so that no worker is idle while the oldest result is pending


@dataclass
class PrepareResult:
    """The result of a run of `prepare`.

    Attributes:
        outcomes: of the videos that this run tried, in order.
        before: number of videos done by earlier runs.
        samples: number of samples in the folder, in each split.
        notes: messages for the user.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    before: int = 0
    samples: dict[Split, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        """The videos of this run that cannot be read."""
        return [outcome for outcome in self.outcomes if outcome.status == "broken"]


def prepare(
    videos: str | Path | Sequence[str | Path],
    output: str | Path,
    config: PrepareConfig | None = None,
    *,
    workers: int = 1,
    table: str | Path | None = None,
    retry: bool = False,
    shard_bytes: int = SHARD_BYTES,
    on_outcome: Callable[[Outcome, int], None] | None = None,
) -> PrepareResult:
    """Detect, crop and parse the faces of videos, and write shards for training.

    It can be interrupted at any time without damage; the same call resumes. Videos that gave no samples are tried again
    when their file changes.

    Args:
        videos: folders or video files; see `find_sources`.
        output: the folder of data.
        config: the settings; those of a folder cannot change.
        workers: number of processes; 1 uses this process.
        table: CSV with identities and splits; see `plan_sources`.
        retry: also retry unchanged videos that gave no samples.
        shard_bytes: size at which a shard is closed.
        on_outcome: called with each outcome and the number of videos to do.
    Raises:
        NoFaceError: no video in the folder gave a sample; the message lists the reasons.
        ConfigError: invalid settings, an identity in both splits, or only one identity.
        VideoNotFoundError: no such folder of videos.
        WeightsError, DownloadError, MissingExtraError: the detector or the parser cannot be loaded.
        OSError: the output cannot be written.
    """
    config = config or PrepareConfig()
    if workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1")
    roots = [Path(one) for one in ([videos] if isinstance(videos, str | Path) else videos)]
    found = find_sources(roots)
    load_tools(config)  # so that errors are raised here instead of in each worker
    folder = DataFolder(Path(output))
    with folder.lock():
        folder.claim(config)
        result = PrepareResult(notes=folder.drop_broken())
        sources = plan_sources(found, identity=config.identity, table=None if table is None else Path(table))
        _assign(folder, config, sources, {source.identity for source in sources})  # raises early if there are too few
        todo = _todo(sources, folder, retry=retry)
        result.before = len(sources) - len(todo)
        for outcome in _process(todo, folder, config, workers):
            folder.record(outcome)
            result.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome, len(todo))
        parts = _parts(sources, folder)
        if not parts and not folder.shards():
            raise _no_face(folder, sources)
        splits = _assign(folder, config, sources, {part.samples[0].identity for part in parts})
        folder.save_splits(splits)
        pack(folder, parts, splits, shard_bytes)
        for shard in folder.shards():
            if shard.split:
                result.samples[shard.split] = result.samples.get(shard.split, 0) + len(shard.samples)
    return result


def _assign(folder: DataFolder, config: PrepareConfig, sources: list[Source], identities: set[str]) -> dict[str, Split]:
    """The split of each identity: as before, as in the table, or random."""
    before = folder.splits()
    listed = [(source.identity, source.split, f"the table ({source.id})") for source in sources if source.split]
    check_disjoint([*((name, split, "the data prepared before") for name, split in before.items()), *listed])
    fixed = {**before, **{name: split for name, split, _ in listed if name in identities}}
    return assign_splits(identities, val_share=config.val_share, seed=config.seed, known=fixed)


def _parts(sources: list[Source], folder: DataFolder) -> list[Shard]:
    """The parts to be packed, in the order of the videos.

    Raises:
        ConfigError: a part was prepared for another identity than it has now.
    """
    parts = []
    for source in sources:
        index = folder.part(source.id).with_suffix(".json")
        if index.is_file():
            part = read_shard(index)
            if part.samples[0].identity != source.identity:
                raise ConfigError(
                    f"{source.id} was prepared as {part.samples[0].identity!r} and is {source.identity!r} now; prepare "
                    "into a new folder"
                )
            parts.append(part)
    return parts


def _todo(sources: list[Source], folder: DataFolder, *, retry: bool) -> list[Source]:
    packed = {sample.source for shard in folder.shards() for sample in shard.samples}
    outcomes = folder.outcomes()

    def is_done(source: Source) -> bool:
        if source.id in packed or folder.part(source.id).with_suffix(".json").is_file():
            return True
        last = outcomes.get(source.id)
        return last is not None and last.status != "done" and last.stamp == source.stamp and not retry

    return [source for source in sources if not is_done(source)]


def _process(todo: Iterable[Source], folder: DataFolder, config: PrepareConfig, workers: int) -> Iterator[Outcome]:
    """The outcome of each video, in order, each as soon as it and all before it are available."""
    if workers == 1:
        yield from (prepare_source(source, folder, config) for source in todo)
        return
    remaining = deque(todo)
    while remaining:
        with _pool(workers) as pool:
            first = list(islice(remaining, workers * _QUEUED_PER_WORKER))
            running = deque(pool.submit(prepare_source, source, folder, config) for source in first)
            following = deque(islice(remaining, len(first), None))
            try:
                while running:
                    outcome = running[0].result()
                    running.popleft()
                    remaining.popleft()
                    yield outcome
                    if following:
                        running.append(pool.submit(prepare_source, following.popleft(), folder, config))
            except BrokenProcessPool:
                pass
            except BaseException:
                _cancel(running)
                raise
        # A worker was killed, for its memory or by a crash in a library, because of one of the running videos.
        for source in [remaining.popleft() for _ in range(min(len(remaining), len(running)))]:
            yield _process_isolated(source, folder, config)


def _process_isolated(source: Source, folder: DataFolder, config: PrepareConfig) -> Outcome:
    """The outcome of a video in a separate process, which may crash."""
    with _pool(1) as pool:
        try:
            return pool.submit(prepare_source, source, folder, config).result()
        except BrokenProcessPool:
            return Outcome(
                source=source.id,
                status="broken",
                reason="the process that read it was killed: out of memory, or a crash in a library",
                stamp=source.stamp,
                identity=source.identity,
            )


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not forked: OpenCV and torch may already have threads.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_initialise_worker)


def _initialise_worker() -> None:
    """Let a worker use one core, since there are as many workers as cores, and end with its parent."""
    import cv2

    exit_with_parent()
    cv2.setNumThreads(1)


def _cancel(futures: Iterable[Future[Outcome]]) -> None:
    for future in futures:
        future.cancel()


def _no_face(folder: DataFolder, sources: list[Source]) -> NoFaceError:
    last = folder.outcomes()
    reasons: dict[str, list[str]] = {}
    for source in sources:
        if source.id in last:
            reasons.setdefault(last[source.id].reason, []).append(source.id)
    summary = "; ".join(f"{len(ids)} ({ids[0]}{', ...' * (len(ids) > 1)}): {why}" for why, ids in reasons.items())
    return NoFaceError(
        f"no face to train on in {len(sources)} videos: {summary}. Try another --detector, a smaller --min-face, or "
        "--crop-face no for videos that are already cropped"
    )
