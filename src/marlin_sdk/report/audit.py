"""The page of an audit, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.audit.by_group import DumpAudit
from marlin_sdk.evaluation.audit.comparing import DETECTABLE, FEW_SUBJECTS, Better, Estimate, Gap, GroupRow, GroupTable
from marlin_sdk.evaluation.intervals import CONFIDENCE
from marlin_sdk.report.rendering import page_template, write_page
from marlin_sdk.report.stress import STRESS_COLUMNS, draw_stress, stress_rows
from marlin_sdk.stress.results import StressTest

__all__ = ["write_audit"]

_WORDS = {
    "faces_found": "faces found",
    "windows_lost": "windows lost",
    "tracks_broken": "tracks broken",
    "box_jitter": "box jitter",
    "false_positive_rate": "false positive rate",
    "auc": "AUC",
    "calibration_error": "calibration error",
    "mae": "mean absolute error",
    "apparent_ita": "apparent ITA, degrees",
}
_MAX_TABLES = 60  # contingency tables on the page; all are in audit.json
_MAX_CELLS = 12  # values of a label in one of them


@dataclass(frozen=True)
class _Cell:
    """A measure on the page: value, interval, what is said of its gap, and whether that stands out."""

    value: str
    interval: str = ""
    gap: str = ""
    stands_out: bool = False


def write_audit(folder: Path, *, stress: StressTest | None = None, dump: DumpAudit | None = None) -> Path:
    """Write `audit.html` and `audit.json`, each atomically.

    Args:
        folder: made if it is missing.
        stress: a stress test.
        dump: an audit by columns.
    Returns:
        The page.
    Raises:
        FeatureFileError: they cannot be written.
        MissingExtraError: the extra `[report]` is not installed.
    """
    render = page_template("audit.html.jinja")
    parts = {"stress": stress.to_json() if stress else None, "dump": dump.to_json() if dump else None}
    values = {"version": __version__, "confidence": CONFIDENCE, "detectable_standard_errors": DETECTABLE, **parts}
    page = render(
        stress=stress,
        curves=[(draw_stress(curve), list(stress_rows(curve))) for curve in stress.curves] if stress else [],
        stress_columns=STRESS_COLUMNS,
        dump=dump,
        tables=[_table(table) for table in dump.tables] if dump else [],
        max_tables=_MAX_TABLES,
        max_cells=_MAX_CELLS,
        few=FEW_SUBJECTS,
        detectable=DETECTABLE,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "audit.json") as part:
            part.write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write to {folder}: {error.strerror or error}; choose another -o") from error
    write_page(folder / "audit.html", page)
    return folder / "audit.html"


def _table(table: GroupTable) -> dict[str, Any]:
    return {
        "title": table.title,
        "metrics": [_WORDS.get(name, name) for name in table.metrics],
        "columns": [
            (
                column,
                [_row(row, table.metrics) for row in rows if not row.too_few or not column],
                [row for row in rows if row.too_few and column],
            )
            for column, of_column in groupby(table.rows, lambda row: row.column)
            if (rows := list(of_column))
        ],
        "found": list(_found(table)),
        "comparisons": table.comparisons,
        "correction": {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg", None: ""}[table.correction],
        "draws": table.draws,
        "notes": table.notes,
    }


def _row(row: GroupRow, metrics: Mapping[str, Better]) -> tuple[GroupRow, list[_Cell]]:
    return row, [_cell(row.estimates[name], better) for name, better in metrics.items()]


def _cell(estimate: Estimate, better: Better) -> _Cell:
    if estimate.value is None:
        return _Cell("-")
    interval = "" if estimate.low is None or estimate.high is None else f"{_n(estimate.low)} to {_n(estimate.high)}"
    gap = _shown(estimate, better)
    if gap is None:
        return _Cell(_n(estimate.value), interval, "best" if estimate.is_best else "")
    words = _gap(gap, "all" if better == "neither" else "best")
    return _Cell(_n(estimate.value), interval, words, _stands_out(gap))


def _shown(estimate: Estimate, better: Better) -> Gap | None:
    return estimate.to_overall if better == "neither" else estimate.to_best


def _stands_out(gap: Gap) -> bool:
    return gap.p_corrected is not None and gap.p_corrected <= 1 - CONFIDENCE


def _gap(gap: Gap, other: str) -> str:
    """A gap in words: one that stands out with its interval, another with what would have shown."""
    p = "" if gap.p_corrected is None else f", p {gap.p_corrected:.3f}"
    if _stands_out(gap):
        return f"{gap.value:+.3f} ({_n(gap.low)} to {_n(gap.high)}) from {other}{p}"
    shown = "nothing varies" if gap.detectable is None else f"{_n(gap.detectable)} would have shown"
    return f"{gap.value:+.3f} from {other}{p}; {shown}"


def _found(table: GroupTable) -> Iterator[str]:
    """The gaps that stand out, the largest first, as sentences."""
    gaps = [
        (gap, name, row.column, row.value)
        for row in table.rows
        for name, estimate in row.estimates.items()
        if (gap := _shown(estimate, table.metrics[name])) is not None and _stands_out(gap)
    ]
    for gap, name, column, value in sorted(gaps, key=lambda one: -abs(one[0].value)):
        interval = f"{_n(gap.low)} to {_n(gap.high)}"
        yield f"{column} {value}: {_WORDS.get(name, name)} {gap.value:+.3f} ({interval})"


def _n(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
