"""Check that the reference is set up correctly, against its recorded output from elsewhere (../shared/golden)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.inputs import shared_file

__all__ = ["check_reference"]

MODEL = "marlin_vit_small_ytf"
WILD = ("video01", "video03")
CROPPED = ("cropped01", "cropped04", "cropped05")


def check_reference(bench: Bench) -> dict[str, Any]:
    """Run the reference on the videos of its golden numbers.

    Returns:
        `largest_difference` of the features by video, and of the face boxes; `boxes_equal`: whether each box and score
        equals the golden one, which is written with two decimals. Or `unchecked`, with the reason.
    """
    golden = shared_file("golden/videos/vit_small_recipe_features.npz")
    golden_boxes = shared_file("golden/videos/reference_face_boxes.json")
    if bench.peer is None or golden is None or golden_boxes is None:
        missing = "the reference" if bench.peer is None else "the reference data (../shared)"
        return {"unchecked": f"{missing} is not here"}
    boxes_of = json.loads(golden_boxes.read_text(encoding="utf-8"))
    differences, equal = {}, True
    worker = bench.start_peer(MODEL, True)
    saved = bench.work / "features-check.npy"
    try:
        with np.load(golden) as expected:
            for name in (WILD[:1] + CROPPED[1:2]) if bench.quick else (*WILD, *CROPPED):
                video = shared_file(f"media/{name}.mp4")
                answer = worker.ask("extract", video=str(video), crop=name in WILD, save_to=str(saved))
                differences[name] = float(np.abs(np.load(saved) - expected[name]).max())
                if name in WILD:
                    seen = np.round(np.array(answer["boxes"], dtype=np.float64), 2)
                    differences[f"{name} boxes"] = float(np.abs(seen - np.array(boxes_of[name])).max())
                    equal = equal and differences[f"{name} boxes"] < 0.0101
                bench.say(f"{name}: features differ by {differences[name]:.1e}")
    finally:
        worker.close()
    return {"largest_difference": differences, "boxes_equal": equal}
