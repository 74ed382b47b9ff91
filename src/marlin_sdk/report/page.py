"""Write a report on a dump as one self-contained HTML file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.report.charts import Chart, draw_counts, draw_heat_map, draw_histogram, draw_rate
from marlin_sdk.report.colours import colour_by_labels
from marlin_sdk.report.crops import MAX_FRAMES, Strip, choose_crops, cut_strip, data_uri
from marlin_sdk.report.details import Similarity, Timeline, draw_timeline, measure_similarity
from marlin_sdk.report.projection import Projection, VectorPool
from marlin_sdk.report.rendering import page_template, write_page
from marlin_sdk.report.summary import count_totals, group_failures, measure_throughput, printable

__all__ = ["ReportOptions", "write_report"]

_SCORE_EDGES = np.linspace(0.0, 1.0, 41)
_MIN_VIDEOS = 5  # of a histogram
_MIN_VIDEOS_OF_RATES, _MIN_WORK_S = 20, 60.0  # rates of less say nothing
_MAX_WARNINGS = 5
_MAX_SETTINGS = 100
_MAX_TEXT = 300


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """How many videos a report shows in detail, which bounds its time and size.

    Attributes:
        first: number of videos from the start of the manifest.
        sample: number of videos drawn at random from the rest.
        seed: random seed of the sample.
        crops: face crops per video (about 3 kB each); 0 opens no source video.
    """

    first: int = 100
    sample: int = 100
    seed: int = 0
    crops: int = 8

    def __post_init__(self) -> None:
        for name, limit in (("first", 2000), ("sample", 2000), ("crops", 24)):
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ConfigError(f"{name} is {value}; expected 0 to {limit}, so that a browser can hold the page")


@dataclass(kw_only=True)
class _Card:
    """What the page shows of one video; its text is printable."""

    id: str
    source: str
    entry: ManifestEntry
    message: str
    labels: dict[str, str]
    hue: int
    num_tracks: int = 0
    warnings: list[str] = field(default_factory=list)
    fault: str = ""
    timeline: Timeline | None = None
    similarity: Similarity | None = None
    heat_map: str = ""
    strip: Strip = field(default_factory=Strip)


@dataclass
class _Scores:
    """Histogram of the detector scores of the videos shown."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_SCORE_EDGES) - 1, dtype=np.int64))

    def add(self, features: VideoFeatures) -> None:
        scores = features.face_score[features.frame_valid]
        scores = np.clip(scores[np.isfinite(scores)], 0, 1)
        self.counts += np.histogram(scores, _SCORE_EDGES)[0]

    def draw(self) -> Chart | None:
        total = int(self.counts.sum())
        if not total:
            return None
        middle = int(np.searchsorted(np.cumsum(self.counts), total / 2))
        summary = f"median about {_SCORE_EDGES[middle : middle + 2].mean():.2f}, over {total:,} frames with a face"
        return draw_counts("Face scores", self.counts, _SCORE_EDGES, unit="detector score", summary=summary)


def write_report(
    folder: Path,
    output: Path,
    options: ReportOptions | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the report on a dump.

    Totals, failures and throughput are of the whole manifest. Features are read of `first + sample` videos: with the
    defaults a page has about 4 MB, and at most 20 (crops of pure noise), however large the dump.

    Args:
        folder: folder of the dump.
        output: the `.html` file, which is written atomically.
        options: how many videos to show in detail.
        progress: called with the number of videos read so far, and their total.
    Returns:
        Number of videos that the page shows in detail.
    Raises:
        FeatureFileError: there is no dump in the folder, its manifest is broken, or the page cannot be written.
        MissingExtraError: the extra `[report]` is not installed.
    """
    options = options or ReportOptions()
    template = page_template("page.html.jinja", script="page.js")
    dump = _open(folder)
    entries = list(dump.entries.values())
    shown = _choose(entries, options)
    cards = [_new_card(entry, place, len(shown)) for place, entry in enumerate(shown)]
    scores, pool = _Scores(), VectorPool()
    _fill_cards(cards, dump, options, scores, pool, progress or (lambda done, total: None))
    projection = pool.project(seed=options.seed)
    page = template(
        name=folder.resolve().name,
        settings=_settings(dump),
        totals=count_totals(entries),
        reasons=group_failures(entries),
        charts=_charts(entries, cards, scores),
        cards=cards,
        options=options,
        projection=projection,
        points=_points(projection, cards),
    )
    write_page(output, page)
    return len(cards)


def _choose(entries: Sequence[ManifestEntry], options: ReportOptions) -> list[ManifestEntry]:
    rest = range(min(options.first, len(entries)), len(entries))
    drawn = random.Random(options.seed).sample(rest, min(options.sample, len(rest)))
    return [*entries[: options.first], *(entries[place] for place in sorted(drawn))]


def _new_card(entry: ManifestEntry, place: int, count: int) -> _Card:
    labels = {_short(str(key)): _short(str(value)) for key, value in list((entry.labels or {}).items())[:8]}
    # steps of the golden angle give neighbouring videos very different hues
    hue = round(360 * place / count) if count <= 8 else round(137.508 * place) % 360
    return _Card(
        id=_short(entry.id),
        source=_short(entry.source),
        entry=entry,
        message=_short(entry.message or ""),
        labels=labels,
        hue=hue,
    )


def _fill_cards(
    cards: Sequence[_Card],
    dump: FeatureDump,
    options: ReportOptions,
    scores: _Scores,
    pool: VectorPool,
    progress: Callable[[int, int], None],
) -> None:
    """Fill the cards: features are read in turn, while threads decode the sources."""
    strips: list[tuple[_Card, Future[Strip]]] = []
    with ThreadPoolExecutor(max_workers=2) as decoders:
        for place, card in enumerate(cards):
            if not card.entry.rows:
                continue
            try:
                features = dump[card.entry.id]
            except (MarlinError, KeyError) as error:
                card.fault = _short(f"its features cannot be read: {error}")
                continue
            _fill(card, features)
            scores.add(features)
            pool.add(place, features)
            wanted = choose_crops(features, options.crops) if options.crops else []
            fps = features.meta.get("video", {}).get("fps")
            if options.crops and features.frame_index.max(initial=0) >= MAX_FRAMES:
                card.warnings.append(f"crops are of its first {MAX_FRAMES:,} frames: a report decodes no more")
            strips.append((card, decoders.submit(cut_strip, card.entry.source, wanted, source_fps=fps)))
        for done, (card, strip) in enumerate(strips, start=1):
            card.strip = strip.result()
            progress(done, len(strips))


def _open(folder: Path) -> FeatureDump:
    dump = FeatureDump(folder) if folder.is_dir() else None
    if dump is None or not dump.entries:
        raise FeatureFileError(f"{folder} is not a dump: it has no manifest.jsonl, or an empty one; check the path")
    for entry in dump.entries.values():
        texts = (entry.source, entry.status, entry.error or "", entry.message or "")
        numbers = (entry.rows, entry.skipped_windows, entry.duration_s or 0, entry.seconds, entry.finished_at)
        if not all(isinstance(text, str) for text in texts) or not all(map(_is_number, numbers)):
            raise FeatureFileError(
                f"the manifest of {folder} is malformed: the line of {entry.id!r:.80} is not a valid entry"
            )
    return dump


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _fill(card: _Card, features: VideoFeatures) -> None:
    card.num_tracks = len(np.unique(features.track_id[features.track_id >= 0]))
    card.warnings = [_short(warning) for warning in features.warnings[:_MAX_WARNINGS]]
    card.timeline = draw_timeline(features, card.entry.duration_s)
    card.similarity = measure_similarity(features)
    if card.similarity:
        card.heat_map = data_uri(draw_heat_map(card.similarity.cosines, card.similarity.lowest, 1.0), ".png")


def _charts(entries: Sequence[ManifestEntry], cards: Sequence[_Card], scores: _Scores) -> list[Chart]:
    charts: list[Chart | None] = [scores.draw()]
    if len(entries) >= _MIN_VIDEOS:
        faces = [card.num_tracks for card in cards if card.num_tracks]
        lengths_s = [entry.duration_s for entry in entries if entry.duration_s is not None]
        charts += [
            draw_histogram("Faces per video", faces, unit="faces", whole=True),
            draw_histogram("Windows per video", [entry.rows for entry in entries], unit="windows", whole=True),
            draw_histogram("Video length", lengths_s, unit="seconds"),
        ]
    throughput = measure_throughput(entries)
    if throughput and len(entries) >= _MIN_VIDEOS_OF_RATES and throughput.edges_s[-1] >= _MIN_WORK_S:
        charts += [
            draw_rate("Videos per minute", throughput, throughput.videos_per_min, unit="videos per minute"),
            draw_rate("Windows per second", throughput, throughput.windows_per_s, unit="windows per second"),
        ]
    return [chart for chart in charts if chart]


def _settings(dump: FeatureDump) -> list[tuple[str, str]]:
    """The settings of the dump, as flat names and values; empty if it has none."""
    try:
        values = dump.settings
    except FeatureFileError as error:
        return [("unknown", _short(str(error)))]
    return [(_short(name), _short(value)) for name, value in _flat(values)][:_MAX_SETTINGS]


def _flat(value: Any, name: str = "", depth: int = 0) -> list[tuple[str, str]]:
    if isinstance(value, dict) and depth < 6:
        joined = ((f"{name}.{key}" if name else str(key), inner) for key, inner in value.items())
        return [pair for path, inner in joined for pair in _flat(inner, path, depth + 1)]
    return [(name, value if isinstance(value, str) else json.dumps(value))]


def _points(projection: Projection | None, cards: Sequence[_Card]) -> dict[str, Any]:
    """Data of each point of the projection, and what it may be coloured by, for the page's script."""
    if projection is None:
        return {}
    shown = dict.fromkeys(point.video for point in projection.points)
    return {
        "colourings": [asdict(colouring) for colouring in colour_by_labels({v: cards[v].labels for v in shown})],
        "videos": {point.video: cards[point.video].id for point in projection.points},
        "points": [
            [point.video, round(point.start_s, 2), round(point.end_s, 2), point.track_id] for point in projection.points
        ],
    }


def _short(text: str) -> str:
    return printable(text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT // 2]} ... {text[-_MAX_TEXT // 2 :]}")
