"""Is a training step the reference's? Both sides' modules, from the same weights, on the same batches and masks.

    python -m benchmarks.reference_curve --data runs/learning/shards --steps 200

The reference is marlin-pytorch 0.3.4 in its own environment; it has no training loop, so AdamW and the squared error of
the masked tubelets are added there. Prints both losses, step by step, and the largest relative difference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning.fabric import Fabric

from benchmarks.learning import MODEL
from benchmarks.peer.environment import set_up
from marlin_sdk.masking.patterns import make_masks
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import read_clip
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks
from marlin_sdk.weights.checkpoints import to_published_keys

__all__ = ["main"]

CONSTRAINTS = Path(__file__).parents[1] / "constraints" / "dev.txt"
TRAINING = Path(__file__).parent / "peer" / "training.py"
BATCH = 16


def main() -> None:
    """Train on both sides, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="written by `benchmarks.learning`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--environment", type=Path, default=Path("build/peer"), help="of the reference; made once")
    options = parser.parse_args()
    peer = set_up(options.environment, CONSTRAINTS)
    config = PretrainConfig.from_preset("marlin", MODEL, masking="random", mask_ratio=0.75, adv_weight=0.0)
    networks = build_networks(config)
    shards = [shard for shard in DataFolder(options.data).shards() if shard.split == "train"]
    samples = [(shard, sample) for shard in shards for sample in shard.samples if sample.num_frames >= MODEL.n_frames]
    clips = np.stack([read_clip(shard, sample, list(range(MODEL.n_frames))) for shard, sample in samples])
    order = np.random.default_rng(0).integers(len(clips), size=(options.steps, BATCH))
    seeds = range(options.steps * BATCH)
    masks = make_masks(None, strategy="random", ratio=config.mask_ratio, seeds=seeds, grid=MODEL.grid)
    masks = masks.reshape(options.steps, BATCH, -1)
    settings = {
        "model": MODEL.to_dict(),
        "lr": options.lr,
        "weight_decay": config.weight_decay,
        "threads": torch.get_num_threads(),
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(to_published_keys(networks[0].state_dict()), folder / "start.pt")
        np.savez(folder / "batches.npz", clips=clips, order=order, masks=masks.numpy())
        (folder / "settings.json").write_text(json.dumps(settings))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, peer.import_path))}
        subprocess.run([peer.python, TRAINING, folder], env=environment, check=True)
        theirs = np.array(json.loads((folder / "losses.json").read_text()))
    learner = Learner(config, *networks, Fabric(accelerator="cpu", devices=1))
    ours = np.array(
        [
            learner.step(
                [Batch(torch.from_numpy(clips[rows]), mask)], learning_rate=options.lr, seed=0
            ).reconstruction.item()
            for rows, mask in zip(order, masks, strict=True)
        ]
    )
    for step in sorted({0, 1, 9, *range(49, options.steps, 50)}):
        print(f"step {step + 1:5}  reference {theirs[step]:.7f}  marlin-sdk {ours[step]:.7f}")
    print(f"largest relative difference of {options.steps} steps: {np.abs(ours / theirs - 1).max():.1e}")


if __name__ == "__main__":
    main()
