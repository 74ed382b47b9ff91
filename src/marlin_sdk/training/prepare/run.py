"""A folder of videos to a folder of prepared faces: which are still to do, by whom, and what came of it."""

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
_PARTS_AHEAD = 4  # videos that wait for each worker, so that none is idle while the oldest result is outstanding


@dataclass
class PrepareResult:
    """What a run of `prepare` did.

    Attributes:
        outcomes: of the videos that this run tried, in order.
        before: videos that an earlier run had settled.
        samples: stretches of faces in the folder, on each side.
        notes: what a person should know.
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
    """Find, crop and parse the faces of videos, and write shards that a training job streams.

    It may be stopped at any time: what is there is whole, and the same call goes on. Videos that gave nothing are tried
    again when their file changes.

    Args:
        videos: folders or video files; see `find_sources`.
        output: the folder of data.
        config: how; the settings of one folder cannot change.
        workers: processes; 1 works in this one.
        table: CSV with identities and splits; see `plan_sources`.
        retry: try again what gave nothing, changed or not.
        shard_bytes: a shard is closed when it has so many.
        on_outcome: called with each outcome and the number of videos to do.
    Raises:
        NoFaceError: no video in the folder gave a face; the message says what they gave.
        ConfigError: settings that cannot be used, an identity on both sides of the split, or only one identity.
        VideoNotFoundError: no such folder of videos.
        WeightsError, DownloadError, MissingExtraError: the detector or the parser cannot be had.
        OSError: the output cannot be written.
    """
    config = config or PrepareConfig()
    if workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1")
    roots = [Path(one) for one in ([videos] if isinstance(videos, str | Path) else videos)]
    found = find_sources(roots)
    load_tools(config)  # what every worker would fail at, before any starts
    folder = DataFolder(Path(output))
    with folder.lock():
        folder.claim(config)
        result = PrepareResult(notes=folder.drop_broken())
        sources = plan_sources(found, identity=config.identity, table=None if table is None else Path(table))
        _draw(folder, config, sources, {source.identity for source in sources})  # too few of them? before the work
        todo = _todo(sources, folder, retry=retry)
        result.before = len(sources) - len(todo)
        for outcome in _work(todo, folder, config, workers):
            folder.record(outcome)
            result.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome, len(todo))
        parts = _parts(sources, folder)
        if not parts and not folder.shards():
            raise _no_face(folder, sources)
        sides = _draw(folder, config, sources, {part.samples[0].identity for part in parts})
        folder.fix_sides(sides)
        pack(folder, parts, sides, shard_bytes)
        for shard in folder.shards():
            if shard.split:
                result.samples[shard.split] = result.samples.get(shard.split, 0) + len(shard.samples)
    return result


def _draw(folder: DataFolder, config: PrepareConfig, sources: list[Source], identities: set[str]) -> dict[str, Split]:
    """The side of each identity: as before, as a table says, or drawn."""
    before = folder.sides()
    asked = [(source.identity, source.split, f"the table ({source.id})") for source in sources if source.split]
    check_disjoint([*((name, side, "the data prepared before") for name, side in before.items()), *asked])
    fixed = {**before, **{name: side for name, side, _ in asked if name in identities}}
    return assign_splits(identities, val_share=config.val_share, seed=config.seed, known=fixed)


def _parts(sources: list[Source], folder: DataFolder) -> list[Shard]:
    """The parts that wait to be packed, in the order of the videos.

    Raises:
        ConfigError: one was prepared for another identity than it has now.
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

    def settled(source: Source) -> bool:
        if source.id in packed or folder.part(source.id).with_suffix(".json").is_file():
            return True
        last = outcomes.get(source.id)
        return last is not None and last.status != "done" and last.stamp == source.stamp and not retry

    return [source for source in sources if not settled(source)]


def _work(todo: Iterable[Source], folder: DataFolder, config: PrepareConfig, workers: int) -> Iterator[Outcome]:
    """The outcome of each video, in order, as soon as it and all before it are there."""
    if workers == 1:
        yield from (prepare_source(source, folder, config) for source in todo)
        return
    left = deque(todo)
    while left:
        with _pool(workers) as pool:
            ahead = list(islice(left, workers * _PARTS_AHEAD))
            running = deque(pool.submit(prepare_source, source, folder, config) for source in ahead)
            following = deque(islice(left, len(ahead), None))
            try:
                while running:
                    outcome = running[0].result()
                    running.popleft()
                    left.popleft()
                    yield outcome
                    if following:
                        running.append(pool.submit(prepare_source, following.popleft(), folder, config))
            except BrokenProcessPool:
                pass
            except BaseException:
                _cancel(running)
                raise
        # A worker was killed, by the system for its memory or by a fault in a library: one of those at work did it.
        for source in [left.popleft() for _ in range(min(len(left), len(running)))]:
            yield _work_alone(source, folder, config)


def _work_alone(source: Source, folder: DataFolder, config: PrepareConfig) -> Outcome:
    """The outcome of a video in a process of its own, which it may bring down."""
    with _pool(1) as pool:
        try:
            return pool.submit(prepare_source, source, folder, config).result()
        except BrokenProcessPool:
            return Outcome(
                source=source.id,
                status="broken",
                reason="the process that read it was killed: out of memory, or a fault in a library",
                stamp=source.stamp,
                identity=source.identity,
            )


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not forked: OpenCV and torch may hold threads already.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_work)


def _begin_work() -> None:
    """Let each worker use one core, for there are as many workers as cores, and end with the run."""
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
    told = "; ".join(f"{len(ids)} ({ids[0]}{', ...' * (len(ids) > 1)}): {why}" for why, ids in reasons.items())
    return NoFaceError(
        f"no face to train on in {len(sources)} videos: {told}. Try another --detector, a smaller --min-face, or "
        "--crop-face no for videos that are cropped already"
    )
