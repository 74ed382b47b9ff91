"""Draw the inputs of pretraining: face crops, their regions, the tokens that touch them, and the resulting masks.

Usage: `python examples/show_regions.py VIDEO -o regions.png [--detector yunet] [--parser landmarks]`. It needs no model
weights. docs/assets/regions.png was made from examples/astronaut.mp4 with the YuNet file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from marlin_sdk.face.detectors import load_detector
from marlin_sdk.face.regions.labels import LABELS, REGIONS, FaceCrops, region_bits
from marlin_sdk.face.regions.parsers import load_parser
from marlin_sdk.masking.patterns import REGION_STRATEGIES, make_masks
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import Segment, track_faces
from marlin_sdk.video.reader import open_video

COLOURS = {
    "background": (96, 105, 116),
    "skin": (247, 214, 181),
    "right_eye": (37, 99, 235),
    "left_eye": (14, 165, 233),
    "nose": (22, 163, 74),
    "mouth": (225, 29, 72),
    "hair": (126, 34, 206),
}
FROM_BACK_TO_FRONT = ("background", "skin", "hair", "nose", "mouth", "right_eye", "left_eye")
REGION_OF_LABEL = [0, 1, 2, 3, 2, 3, 4, 5, 5, 5, 6]
SHOWN = [0, 4, 8, 12]  # steps of the clip: the first frame of each of four tubelets
INK, PALE = "#1f2933", "#7b8794"


def longest_face(video: Path, detector: str) -> tuple[Segment, PrepareConfig]:
    """The face with the longest track, cropped as for training.

    Raises:
        SystemExit: no track is as long as a clip.
    """
    config = PrepareConfig(detector=detector, val_share=0)
    with open_video(video) as reader:
        found = list(track_faces(reader, config, load_detector(detector)))
    best = max(found, key=lambda segment: len(segment.pixels), default=None)
    if best is None or len(best.pixels) < config.min_frames:
        raise SystemExit(f"{video} shows no face for {config.min_frames} frames")
    return best, config


def paint(crop: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop with its regions as an overlay."""
    palette = np.array([COLOURS[REGIONS[region]] for region in REGION_OF_LABEL], dtype=np.float64)
    return np.asarray(crop * 0.5 + palette[labels] * 0.5, dtype=np.uint8)


def tokens(bits: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Each token in the colour of the foremost region that it touches."""
    picture = np.zeros((*bits.shape, 3), dtype=np.uint8)
    for region in FROM_BACK_TO_FRONT:
        picture[(bits >> REGIONS.index(region)) & 1 == 1] = COLOURS[region]
    side = size_px // bits.shape[0]
    large = np.asarray(np.kron(picture, np.ones((side, side, 1), dtype=np.uint8)), dtype=np.uint8)
    large[::side], large[:, ::side] = 255, 255
    return large


def masked(crop: NDArray[np.uint8], visible: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A crop of which only the visible tokens are shown."""
    side = len(crop) // len(visible)
    shown = np.kron(visible, np.ones((side, side), dtype=np.bool_))
    return np.asarray(np.where(shown[..., None], crop, 226), dtype=np.uint8)


def draw(segment: Segment, config: PrepareConfig, detector: str, parser: str, *, seed: int) -> Figure:
    """The figure: a column for each of four tubelets, a row for each stage."""
    pixels = np.stack(segment.pixels[:32:2])
    crops = FaceCrops(
        pixels, np.array(segment.frame_index[:32:2]), np.stack(segment.squares[:32:2]), segment.frame_size, ""
    )
    labels = load_parser(parser, detector=load_detector(detector)).parse(crops)
    bits = region_bits(labels, config.patch_px)[::2]
    rows: dict[str, list[NDArray[np.uint8]]] = {
        "crop": [pixels[step] for step in SHOWN],
        "regions": [paint(pixels[step], labels[step]) for step in SHOWN],
        "tokens": [tokens(bits[step // 2], config.size_px) for step in SHOWN],
    }
    for strategy in REGION_STRATEGIES:
        visible = make_masks(bits[None], strategy=strategy, seeds=[seed]).numpy().reshape(8, 14, 14)
        rows[strategy] = [masked(pixels[step], visible[step // 2]) for step in SHOWN]
    figure = Figure(figsize=(7.5, 11.4), dpi=100, facecolor="white")
    axes = figure.subplots(len(rows), len(SHOWN))
    figure.subplots_adjust(left=0.135, right=0.995, top=0.975, bottom=0.046, hspace=0.05, wspace=0.04)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, step, picture in zip(line, SHOWN, pictures, strict=True):
            axis.imshow(picture)
            axis.axis("off")
            if name == "crop":
                axis.set_title(f"tubelet {step // 2}", color=PALE, size=9.5)
        line[0].text(-0.06, 0.5, name, transform=line[0].transAxes, ha="right", va="center", color=INK, size=10)
    handles = [
        Patch(color=tuple(np.array(colour) / 255), label=name.replace("_", " ")) for name, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=7, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .png file")
    parser.add_argument("--detector", default="yunet", help="as for marlin-sdk prepare; lbp needs no download")
    parser.add_argument("--parser", default="landmarks", help="as for marlin-sdk prepare")
    parser.add_argument("--seed", type=int, default=0, help="of the masks")
    arguments = parser.parse_args()
    segment, config = longest_face(arguments.video, arguments.detector)
    figure = draw(segment, config, arguments.detector, arguments.parser, seed=arguments.seed)
    figure.savefig(arguments.output, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"{arguments.output}: track {segment.track}, {len(segment.pixels)} frames, {len(LABELS)} labels")


if __name__ == "__main__":
    main()
