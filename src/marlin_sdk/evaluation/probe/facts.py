"""What a probe is of: numbers, hashes, and what has no label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from marlin_sdk._version import __version__
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["facts_of", "unlabelled"]


def facts_of(
    dump: FeatureDump, samples: Samples, targets: Sequence[Target], against: FeatureDump | None, other: Samples | None
) -> dict[str, Any]:
    """What a probe is of, as plain JSON: numbers of videos and groups, classes, weights, and hashes of table and dumps.

    Args:
        dump: the dump.
        samples: read from it.
        targets: what is predicted.
        against: the other dump.
        other: read from that.
    """
    return {
        "videos": samples.num_videos,
        "groups": len(set(samples.groups.tolist())),
        "labels": {target.name: list(target.classes) for target in targets},
        "version": __version__,
        "weights": samples.weights,
        "against": None if other is None else other.weights,
        "hashes": {
            "table": _hash(dict(zip(samples.ids.tolist(), samples.labels, strict=True))),
            "dump": _dump_hash(dump),
            "against": None if against is None else _dump_hash(against),
        },
    }


def _dump_hash(dump: FeatureDump) -> str:
    """Of what was embedded, and how: not of labels, which are the table's."""
    entries = [
        (entry.id, entry.file, entry.rows, entry.weights, entry.settings_hash, entry.finished_at)
        for entry in dump.entries.values()
    ]
    return _hash(sorted(entries, key=lambda entry: entry[0]))


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def unlabelled(targets: Sequence[Target], samples: Samples, classes: Sequence[str]) -> Iterator[str]:
    """How many videos lack which label, or have another class than those chosen, in words."""
    rows = "windows" if samples.num_videos < len(samples) else "videos"
    for target in targets:
        if target.missing:
            chosen = f" of the classes {', '.join(classes)}" if classes else ""
            yield f"{target.missing} of {len(samples)} {rows} have no label {target.name!r}{chosen}: they are left out"
