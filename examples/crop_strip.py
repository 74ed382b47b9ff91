"""Draw what the encoder sees of a video: a strip of crops for each window, above the timeline of the windows.

Usage: `python examples/crop_strip.py VIDEO -o strip.png [--detector yunet]`. It needs no model weights, because it uses
the boxes and not the features. docs/assets/crop-strip.png was made from examples/astronaut.mp4 with `--detector lbp`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from marlin_sdk import Marlin, ModelConfig, VideoFeatures
from marlin_sdk.face.cropping import crop_square
from marlin_sdk.video.reader import open_video

# A minimal model: its features are not used.
MODEL = ModelConfig(encoder_embed_dim=16, encoder_depth=1, encoder_num_heads=1, img_size=16)
CROP_PX = 112
GAP_PX = 8
INK, PALE, PADDED = "#1f2933", "#7b8794", "#c2410c"


def read_frames(video: Path, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    """The pixels of some source frames, by index."""
    with open_video(video) as reader:
        return {frame.index: frame.rgb for frame in reader if frame.index in wanted}


def strip(result: VideoFeatures, row: int, frames: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The crops of one window side by side; repeats of a neighbour are faded."""
    picture = np.full((CROP_PX, 16 * (CROP_PX + GAP_PX) - GAP_PX, 3), 255, dtype=np.uint8)
    for step in range(16):
        box = result.boxes[row, step].astype(np.int64)
        crop = crop_square(frames[int(result.frame_index[row, step])], box, CROP_PX)
        if not result.frame_valid[row, step]:
            crop = cv2.addWeighted(crop, 0.25, np.full_like(crop, 255), 0.75, 0).astype(np.uint8)
        picture[:, step * (CROP_PX + GAP_PX) :][:, :CROP_PX] = crop
    return picture


def draw(result: VideoFeatures, video: Path, *, max_rows: int = 8) -> Figure:
    """The figure: a strip for each of the first windows, then the timeline of all windows.

    Args:
        result: from `extract` without a reduction, of a video that was cropped.
        video: the file it comes from.
        max_rows: maximum number of strips.
    """
    rows = min(len(result), max_rows)
    frames = read_frames(video, set(result.frame_index[:rows].ravel().tolist()))
    colours = colormaps["viridis"](np.linspace(0.15, 0.8, len(result)))
    figure = Figure(figsize=(12, 0.7 * rows + 1.65), dpi=110, facecolor="white")
    axes = figure.subplots(rows + 1, 1, height_ratios=[1.0] * rows + [1.35])
    figure.subplots_adjust(left=0.125, right=0.985, top=0.97, bottom=0.42 / (0.7 * rows + 1.65), hspace=0.08)
    for row, axis in enumerate(axes[:-1]):
        axis.imshow(strip(result, row, frames), interpolation="lanczos")
        axis.axis("off")
        label = {"transform": axis.transAxes, "ha": "right"}
        axis.text(-0.012, 0.68, f"row {row}", color=colours[row], va="center", weight="bold", size=12, **label)
        seconds = f"{result.start_s[row]:.2f} – {result.end_s[row]:.2f} s"  # noqa: RUF001 - a range
        axis.text(-0.012, 0.32, seconds, color=PALE, va="center", size=9.5, **label)
    timeline, end_s = axes[-1], float(result.end_s.max())
    for row in range(len(result)):
        start_s, width_s = result.start_s[row], result.end_s[row] - result.start_s[row]
        timeline.add_patch(Rectangle((start_s, 0.12), width_s, 0.5, color=colours[row], alpha=0.9, lw=0))
        if width_s > 0.04 * end_s:
            centre = (start_s + width_s / 2, 0.37)
            timeline.annotate(f"row {row}", centre, ha="center", va="center", color="white", weight="bold", size=10)
        since = result.frame_index[row] - result.frame_index[row, 0]
        times = (start_s + since / result.meta["video"]["fps"])[result.frame_valid[row]]
        timeline.vlines(times, 0.7, 0.92, color=colours[row], lw=1.4)
        if repeated := int((~result.frame_valid[row]).sum()):
            note = f"row {row}: {repeated} of 16 steps repeat a neighbour"
            where = (float(result.start_s[row] + width_s / 2), 1.02)
            timeline.annotate(note, where, ha="right", va="bottom", color=PADDED, size=9.5)
    timeline.set(xlim=(0, end_s * 1.002), ylim=(0, 1.3), yticks=[], xlabel="seconds")
    timeline.text(-0.012, 0.62, "sampled", transform=timeline.transAxes, ha="right", va="center", color=PALE, size=9.5)
    timeline.text(-0.012, 0.28, "windows", transform=timeline.transAxes, ha="right", va="center", color=PALE, size=9.5)
    timeline.spines[["top", "left", "right"]].set_visible(False)
    timeline.spines["bottom"].set_color(PALE)
    timeline.tick_params(colors=INK, labelsize=9.5)
    return figure


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .png file")
    parser.add_argument("--detector", default="yunet", help="as for marlin-extract; lbp needs no download")
    arguments = parser.parse_args()
    model = Marlin.untrained(MODEL, device="cpu", detector=arguments.detector)
    result = model.extract(arguments.video, crop_face=True)
    draw(result, arguments.video).savefig(arguments.output, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"{arguments.output}: {len(result)} windows, {result.end_s[-1]:.2f} s")


if __name__ == "__main__":
    main()
