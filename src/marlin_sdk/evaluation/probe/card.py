"""The card of a probe: its result in Markdown, with what it does not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.probe.outcome import MAIN_METRICS, Outcome, metric_name
from marlin_sdk.evaluation.results import Measure, Row

__all__ = ["arms_table", "by_label", "card_of", "curve_table", "differences", "safe", "write_card"]

_MAX_ROWS = 60


def write_card(outcome: Outcome) -> Path:
    """Write `README.md` into the folder of the probe.

    Raises:
        FeatureFileError: it cannot be written.
    """
    path = outcome.probe.folder / "README.md"
    try:
        with atomic_path(path) as part:
            part.write_text(card_of(outcome), encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write {path}: {error.strerror}") from error
    return path


def card_of(outcome: Outcome) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    probe, facts = outcome.probe, outcome.probe.facts
    test = outcome.rows("features")
    yield f"# Probe of {safe(probe.settings.label)}"
    yield ""
    yield (
        f"{facts['head']} head on frozen features (pooling {facts['pooling']}) of {facts['videos']:,} videos of "
        f"{facts['groups']:,} groups; {test[0].videos:,} videos of {test[0].groups:,} groups are tested. "
        f"{_division(outcome)}"
    )
    yield ""
    yield from arms_table(outcome)
    yield ""
    yield (
        f"Intervals of 95 % by drawing groups ({outcome.evaluations['features'].draws:,} draws, "
        f"{outcome.evaluations['features'].interval}). Nothing was chosen on the test part."
    )
    if outcome.paired is not None:
        yield from ("", *differences(outcome))
    if len(probe.settings.ratios) > 1:
        yield from ("", "## With fewer labels", "", *curve_table(outcome))
    if len(test) > 1:
        yield from ("", "## By label", "", *by_label(test, outcome.evaluations["features"].task))
    yield from ("", "## To know", "")
    notes = [*outcome.suspicions, *probe.notes, *test[0].notes, *outcome.evaluations["features"].notes]
    yield from (f"- {safe(note)}" for note in dict.fromkeys(notes))
    yield "- The numbers hold for data like these; another source of videos is another question."
    yield "- MARLIN's published weights are CC BY-NC 4.0, and so is a head's use with them."
    yield from ("", "## Made with", "")
    yield f"- marlin-sdk {facts['version']}, weights `{safe(facts['weights'])}`"
    yield f"- table `{facts['hashes']['table']}`, dump `{facts['hashes']['dump']}` (sha256, 16 digits)"
    if facts["against"]:
        yield f"- the other dump: weights `{safe(facts['against'])}`, `{facts['hashes']['against']}`"
    yield from (
        "",
        "`marlin-sdk predict VIDEO --head .` uses the head in this folder; `results.json` has every number,",
    )
    yield "`predictions.parquet` what they are made of."


def _division(outcome: Outcome) -> str:
    settings = outcome.probe.settings
    if settings.leave_one_group_out:
        return "Each group is left out in turn."
    if settings.folds:
        return f"{settings.folds} folds by group, stratified; every video is tested once."
    return "Split by the table's `split`."


def arms_table(outcome: Outcome) -> Iterator[str]:
    """The main metrics of each arm, as lines of a Markdown table."""
    names = list(outcome.headline("features"))
    yield f"| predicted from | {' | '.join(metric_name(name) for name in names)} |"
    yield "| --- |" + " --- |" * len(names)
    for arm in (arm for arm in outcome.names if arm in outcome.evaluations):
        measures = outcome.headline(arm)
        yield f"| {outcome.names[arm]} | {' | '.join(_measure(measures[name]) for name in names)} |"


def differences(outcome: Outcome) -> Iterator[str]:
    """The differences between the two compared arms, as lines of a Markdown list."""
    assert outcome.paired is not None
    largest = max(outcome.probe.settings.ratios)
    row = next(row for row in outcome.paired.rows if (row.split, row.ratio) == ("test", largest))
    for name, difference in (row.differences or {}).items():
        if name in MAIN_METRICS[outcome.paired.task] and difference.value is not None and difference.low is not None:
            clear = "clear" if difference.low > 0 or (difference.high or 0) < 0 else "not clear"
            yield (
                f"- {metric_name(name)}, {outcome.names['features']} minus {outcome.names['against']}, on the same "
                f"draws: {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}), {clear}."
            )


def curve_table(outcome: Outcome) -> Iterator[str]:
    """The main metrics at each share of the training part, as lines of a Markdown table."""
    names = list(outcome.headline("features"))
    yield f"| share of the training groups | draws | {' | '.join(metric_name(name) for name in names)} |"
    yield "| --- | --- |" + " --- |" * len(names)
    for ratio in sorted(outcome.probe.settings.ratios):
        row = outcome.rows("features", ratio=ratio)[0]
        yield f"| {ratio:g} | {row.seeds} | {' | '.join(_measure(row.measures[name]) for name in names)} |"


def by_label(rows: list[Row], task: str) -> Iterator[str]:
    """The main metrics of each label, as lines of a Markdown table."""
    single = [row for row in rows if row.kind == "label"]
    names = [name for name in MAIN_METRICS[task] if name in single[0].measures]
    yield f"| label | {' | '.join(metric_name(name) for name in names)} |"
    yield "| --- |" + " --- |" * len(names)
    for row in single[:_MAX_ROWS]:
        yield f"| {safe(row.label)} | {' | '.join(_measure(row.measures[name]) for name in names)} |"
    if len(single) > _MAX_ROWS:
        yield ""
        yield f"{len(single) - _MAX_ROWS} more are in `results.json`."


def _measure(measure: Measure) -> str:
    if measure.value is None:
        return f"undefined ({measure.undefined})" if measure.undefined else "undefined"
    interval = "" if measure.low is None else f" ({measure.low:.3f} to {measure.high:.3f})"
    seeds = "" if measure.seed_sd is None else f", ±{measure.seed_sd:.3f} by draw"
    return f"{measure.value:.3f}{interval}{seeds}"


def safe(text: str) -> str:
    """A label of a table, which may hold anything, as a piece of Markdown."""
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return plain.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
