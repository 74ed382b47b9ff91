"""Does it learn? Pretrain a small model for a few minutes, and evaluate it on held-out people.

Usage: `python examples/pretrain_tiny.py -o runs/tiny`. It draws moving cartoon faces, adds the example video and, if
it exists, the real faces of `../shared/media`, prepares them as `marlin-sdk prepare` does, pretrains, and compares the
reconstructions with baselines without learning: the mean face of the training clips, a still face made of what is
visible of the clip, the mean colour of that, and the nearest visible tubelet. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk import Marlin, ModelConfig
from marlin_sdk.model.tubelets import to_tubelets
from marlin_sdk.reconstruction import compose, contact_sheet, reconstruct, save_png
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.pretrain.baselines import (
    mean_face,
    mean_face_tubelets,
    moving_tubelets,
    still_face_tubelets,
    sum_frames,
)
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.data import ClipDataset, open_clips
from marlin_sdk.training.pretrain.held_out import MEAN_FACE_CLIPS
from marlin_sdk.training.pretrain.losses import masked_tubelets
from marlin_sdk.training.pretrain.run import Run, pretrain
from marlin_sdk.training.pretrain.stream import collate, first_clips, masks_for
from marlin_sdk.training.stream import seed_of

SIZE_PX, PATCH_PX = 64, 8  # the grid is 8x8x8 tokens instead of 8x14x14, so that two cores suffice
MODEL = ModelConfig(
    encoder_embed_dim=128,
    encoder_depth=4,
    encoder_num_heads=4,
    decoder_embed_dim=64,
    decoder_depth=2,
    decoder_num_heads=2,
    img_size=SIZE_PX,
    patch_size=PATCH_PX,
)
CARTOON_FRAMES = 64
# The people in the videos of ../shared/media; the last two videos are too short for a clip. video01 and cropped01 show
# the same man.
PEOPLE = {"video01.mp4": "first man", "cropped01.mp4": "first man", "video03.mp4": "second man"}
HELD_OUT_PEOPLE = ("second man",)
REQUIRED = ("mean face", "mean colour", "nearest visible")  # baselines that the model must beat
ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("MARLIN_SHARED", ROOT.parent / "shared"))
YUNET = SHARED / "weights" / "face_detection_yunet_2023mar.onnx"


def draw_cartoon(seed: int) -> Iterator[NDArray[np.uint8]]:
    """A face with random colours and proportions that sways, blinks and talks: frames (64, 64, 3)."""
    rng = np.random.default_rng(seed)
    skin = rng.uniform((90, 55, 40), (235, 190, 165))
    hair, shirt, wall = rng.uniform(10, 150, 3), rng.uniform(20, 230, 3), rng.uniform(30, 230, 3)
    wide, high = rng.uniform(30, 38), rng.uniform(42, 50)
    speed, phase = rng.uniform(0.1, 0.3, 4), rng.uniform(0, 6.28, 4)
    side_px, scale = 112, 2  # drawn large, then scaled down
    slope = rng.uniform(-0.4, 0.4, 2)
    rows, columns = np.mgrid[: side_px * scale, : side_px * scale] / scale - side_px / 2
    backdrop = np.clip(wall + (rows * slope[0] + columns * slope[1])[..., None], 0, 255).astype(np.uint8)

    def ellipse(
        picture: NDArray[np.uint8], x: float, y: float, a: float, b: float, colour: NDArray[np.float64]
    ) -> None:
        centre, axes = (int(x * scale), int(y * scale)), (max(int(a * scale), 1), max(int(b * scale), 1))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA)

    for frame in range(CARTOON_FRAMES):
        sway, nod, talk, blink = np.sin(speed * frame + phase)
        x, y = 56 + 5 * sway, 58 + 3 * nod
        picture = backdrop.copy()
        ellipse(picture, 56 + 2 * sway, 125, 50, 30, shirt)
        ellipse(picture, x, y - 8, wide + 5, high + 2, hair)
        ellipse(picture, x, y + 4, wide, high, skin)
        for side in (-1, 1):
            ellipse(picture, x + side * 14 + 2 * sway, y - 6, 6, 3.5 * max(blink, -0.6) + 3.5, np.full(3, 245.0))
            ellipse(picture, x + side * 14 + 3 * sway, y - 6, 2.5, 2.5 * max(blink, -0.6) + 2, np.full(3, 25.0))
            ellipse(picture, x + side * 14 + 2 * sway, y - 15, 8, 1.6, hair)
        ellipse(picture, x + 3 * sway, y + 8, 4, 8, skin * 0.85)
        ellipse(picture, x + 2 * sway, y + 27, 11, 3 + 3 * (talk + 1), np.array([150.0, 50.0, 60.0]))
        yield cv2.resize(picture, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)


def write_videos(folder: Path, cartoons: int) -> Path:
    """Write cartoons and real videos to one folder, and a table with the identity and split of each."""
    folder.mkdir(parents=True, exist_ok=True)
    table = [("source", "identity", "split")]
    for number in range(cartoons):
        name = f"cartoon{number:02d}.mkv"
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width = stream.height = SIZE_PX
            stream.pix_fmt = "bgr0"
            for picture in draw_cartoon(number):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        table.append((name, name, "val" if number >= cartoons - cartoons // 6 else "train"))
    shutil.copyfile(ROOT / "examples" / "astronaut.mp4", folder / "astronaut.mp4")
    table.append(("astronaut.mp4", "astronaut", "train"))
    for name, person in PEOPLE.items() if SHARED.is_dir() else ():
        shutil.copyfile(SHARED / "media" / name, folder / name)
        table.append((name, person, "val" if person in HELD_OUT_PEOPLE else "train"))
    with (folder.parent / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    return folder.parent / "people.csv"


@dataclass(frozen=True)
class HeldOut:
    """Clips of held-out people: uint8 (clips, T, H, W, 3), masks (clips, N), moving parts (clips, masked)."""

    clips: Tensor
    mask: Tensor
    moving: NDArray[np.bool_]
    is_real: NDArray[np.bool_]

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each clip in floats (1, 3, T, H, W), and its mask (1, N)."""
        for clip, mask in zip(self.clips, self.mask, strict=True):
            yield clip[None].permute(0, 4, 1, 2, 3).float() / 255, mask[None]


def load_held_out(data: Path, config: PretrainConfig, *, passes: int = 4) -> HeldOut:
    """Some windows of each held-out track, with masks that no training epoch uses."""
    dataset = ClipDataset(data, "val", seed=1, drop_last=False)
    items = []
    for epoch in range(passes):
        dataset.set_epoch(epoch)
        items += list(dataset)
    together = collate(items)
    mask = masks_for(together, config, [seed_of(99, place) for place in range(len(items))])
    moving = moving_tubelets(together["clip"].permute(0, 4, 1, 2, 3).float() / 255, mask, MODEL).numpy()
    is_real = np.array([not name.startswith("cartoon") for name in together["identity"]])
    return HeldOut(together["clip"], mask, moving, is_real)


def mean_colour(true: Tensor, mask: Tensor) -> Tensor:
    """Fill the masked part of one clip with the mean colour of the visible part: tubelets (N, P) -> (masked, P)."""
    colour = true[mask].reshape(-1, 3, true.shape[1] // 3).mean(dim=(0, 2))
    return colour.repeat_interleave(true.shape[1] // 3).expand(int((~mask).sum()), -1)


def nearest_visible(true: Tensor, mask: Tensor) -> Tensor:
    """Fill each masked tubelet with the nearest visible one; distances are in tubelets along time, height and width."""
    cells = torch.cartesian_prod(*(torch.arange(float(size)) for size in MODEL.grid))
    nearest = torch.cdist(cells[~mask], cells[mask]).argmin(dim=1)
    return true[mask][nearest]


def on_tubelets(fill: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A baseline on the tubelets of one clip, as one on a clip and its mask."""
    return lambda pixels, mask: fill(to_tubelets(pixels, MODEL)[0], mask[0])[None]


def fill_errors(held: HeldOut, fill: Callable[[Tensor, Tensor], Tensor]) -> NDArray[np.float32]:
    """The mean squared error of each masked tubelet of each clip, for a baseline: (clips, masked).

    Args:
        held: the clips.
        fill: takes one clip, float (1, 3, T, H, W), and its mask (1, N); returns tubelets (1, masked, P).
    """
    return np.stack(
        [
            (fill(pixels, mask) - masked_tubelets(pixels, mask, MODEL)).square().mean(dim=2)[0].numpy()
            for pixels, mask in held.pairs()
        ]
    )


def model_errors(model: Marlin, held: HeldOut) -> NDArray[np.float32]:
    """The same for a model."""
    assert model.decoder is not None
    found = [reconstruct(model.encoder, model.decoder, pixels, mask) for pixels, mask in held.pairs()]
    return np.stack([result.error[~result.mask].numpy() for result in found])


def summarise(errors: NDArray[np.float32], held: HeldOut) -> dict[str, float]:
    """Mean errors over all clips, cartoons and real faces: of all that is masked, and of the moving parts alone."""
    found = {}
    for which, clips in {"all": np.ones_like(held.is_real), "cartoon": ~held.is_real, "real": held.is_real}.items():
        for name, chosen in {which: errors[clips], f"{which} moving": errors[clips][held.moving[clips]]}.items():
            if chosen.size:
                found[name] = float(chosen.mean(dtype=np.float64))
    return found


def verdict(report: dict[str, dict[str, float]]) -> tuple[list[str], list[str]]:
    """What the numbers say, a line for each baseline, and the baselines that the model must beat and does not.

    It must beat each of `REQUIRED` over all that is masked, on all clips, cartoons and real faces alike. It need not
    beat the still face, nor any baseline over the moving parts; the lines say whether it does.
    """
    lines, missed = [], []
    own = report["this model"]
    for baseline in (*REQUIRED, "still face"):
        beaten = {which: own[which] < report[baseline][which] for which in own}
        parts = ", ".join(f"{which} {'yes' if beaten[which] else 'NO'}" for which in own)
        lines.append(f"beats the {baseline}: {parts}")
        if baseline in REQUIRED and not all(beaten[which] for which in own if not which.endswith("moving")):
            missed.append(baseline)
    return lines, missed


def retrieval(model: Marlin, data: Path, *, windows: int = 6) -> float:
    """How often the nearest neighbour of a window, by cosine, comes from the same track."""
    tracks, features = [], []
    for split in ("train", "val"):
        dataset = ClipDataset(data, "train" if split == "train" else "val", seed=2, drop_last=False)
        for epoch in range(windows):
            dataset.set_epoch(epoch)
            for item in dataset:
                tracks.append(item["id"])
                features.append(model.extract_clip(item["clip"]))
    stacked = torch.nn.functional.normalize(torch.stack(features) - torch.stack(features).mean(0), dim=1)
    likeness = stacked @ stacked.T
    likeness.fill_diagonal_(-2)
    same = [tracks[int(best)] == own for own, best in zip(tracks, likeness.argmax(dim=1), strict=True)]
    return float(np.mean(same))


def draw_curve(run: Path) -> None:
    """Plot the losses of the run."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for key, label in (("train/reconstruction", "training"), ("val/reconstruction", "held out")):
        points = [(line["step"], line[key]) for line in lines if key in line]
        axes.plot(*zip(*points, strict=True), label=label, marker="o" if key.startswith("val") else None, markersize=3)
    axes.set(xlabel="step", ylabel="mean squared error", yscale="log")
    axes.legend()
    figure.savefig(run / "loss.png", dpi=120)


def main() -> None:
    """Prepare, pretrain, evaluate; exit status 1 if the model does not beat every baseline of `REQUIRED`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--cartoons", type=int, default=120, help="the last sixth of them is held out")
    options = parser.parse_args()
    work, run = options.output.with_name(options.output.name + "-data"), options.output
    table = write_videos(work / "videos", options.cartoons)
    detector = str(YUNET) if YUNET.is_file() else "lbp"
    prepared = prepare(
        work / "videos",
        work / "shards",
        PrepareConfig(size_px=SIZE_PX, patch_px=PATCH_PX, detector=detector, faces="largest"),
        table=table,
    )
    print(f"prepared {prepared.samples.get('train', 0)} tracks to train on, {prepared.samples.get('val', 0)} held out")
    config = PretrainConfig.from_preset(
        "marlin",
        MODEL,
        max_steps=options.steps,
        batch_size=options.batch_size,
        base_lr=0.05,  # few steps of few clips: the published rate is for 2000 epochs
        base_min_lr=0.001,
        warmup=0.05,
        adv_weight=0.001,
        gradient_penalty=10.0,
        num_workers=1,
        log_every=20,
        val_every=max(options.steps // 8, 1),
        save_every=max(options.steps // 4, 1),
        picture_every=options.steps,
    )
    train, val, about = open_clips(work / "shards", config)
    result = pretrain(config, run, train=train, val=val, run=Run(data=about, progress=True))
    print(f"{result.step} steps, training loss {result.reconstruction:.5f}")
    draw_curve(run)

    held = load_held_out(work / "shards", config)
    trained = Marlin.from_pretrained(run, decoder=True, device="cpu", detector="lbp")
    untrained = Marlin.untrained(MODEL, decoder=True, device="cpu", detector="lbp")
    face = mean_face(sum_frames(first_clips(train, MEAN_FACE_CLIPS), MODEL), MODEL)
    rows = {
        "this model": model_errors(trained, held),
        "mean face": fill_errors(held, lambda _, mask: mean_face_tubelets(face, mask, MODEL)),
        "still face": fill_errors(held, lambda pixels, mask: still_face_tubelets(pixels, mask, face, MODEL)),
        "mean colour": fill_errors(held, on_tubelets(mean_colour)),
        "nearest visible": fill_errors(held, on_tubelets(nearest_visible)),
        "untrained model": model_errors(untrained, held),
    }
    report = {name: summarise(found, held) for name, found in rows.items()}
    for name, means in report.items():
        print(f"{name:16}", "  ".join(f"{which} {value:.5f}" for which, value in means.items()))
    lines, missed = verdict(report)
    report["retrieval"] = {
        "this model": retrieval(trained, work / "shards"),
        "untrained model": retrieval(untrained, work / "shards"),
    }
    print("nearest window of the same track:", report["retrieval"])
    (run / "report.json").write_text(json.dumps(report, indent=2) + "\n")

    assert trained.decoder is not None
    real, cartoon = np.flatnonzero(held.is_real)[:2], np.flatnonzero(~held.is_real)[:2]
    shown = [*cartoon, *real]
    result_rows = [
        reconstruct(trained.encoder, trained.decoder, held.clips[[index]], held.mask[[index]])[0] for index in shown
    ]
    save_png(contact_sheet(result_rows, MODEL, frames=(0,)), run / "held-out.png")
    compared = []
    for index in shown:
        pixels, mask = held.clips[[index]].permute(0, 4, 1, 2, 3).float() / 255, held.mask[[index]]
        compared.append(compose(pixels, mask, still_face_tubelets(pixels, mask, face, MODEL), MODEL)[0])
    save_png(contact_sheet(compared, MODEL, frames=(0,)), run / "still-face.png")
    print(*lines, sep="\n")
    print(f"does NOT beat: {', '.join(missed)}" if missed else f"beats: {', '.join(REQUIRED)}")
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
