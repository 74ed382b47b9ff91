"""A pretraining step against the same step written as in the reference package.

Run it as `python benchmarks/pretrain_step.py --model marlin_vit_small --batch-size 2`. Same model, batch and masks. The
other side is reimplemented in plain torch modules: attention as matrix products and a softmax, fp32, the patch
embedding as a convolution, and a full pass through the autoencoder for each of discriminator and autoencoder. Both
sides take turns, so that other load slows both; the medians are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from marlin_sdk.config import ModelConfig
from marlin_sdk.model.tubelets import to_tubelets
from marlin_sdk.training.monitor import peak_gflops
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.cost import step_gflop
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks


class PlainBlock(nn.Module):
    """A pre-norm block with explicit attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = ((q * (dim // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PlainAutoencoder(nn.Module):
    """An encoder over the visible tokens and a decoder over all tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, other = config.encoder_embed_dim, config.decoder_embed_dim or 0
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.embed = nn.Conv3d(3, dim, kernel, stride=kernel)
        self.encoder = nn.ModuleList(PlainBlock(dim, config.encoder_num_heads) for _ in range(config.encoder_depth))
        self.norm, self.down = nn.LayerNorm(dim), nn.Linear(dim, other, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, other))
        self.decoder = nn.ModuleList(
            PlainBlock(other, config.decoder_num_heads or 1) for _ in range(config.decoder_depth or 0)
        )
        self.last, self.head = nn.LayerNorm(other), nn.Linear(other, config.patch_dim)
        self.register_buffer("positions", torch.randn(1, config.num_tokens, dim) * 0.02)
        self.register_buffer("others", torch.randn(1, config.num_tokens, other) * 0.02)

    def forward(self, clips: Tensor, mask: Tensor) -> Tensor:
        """The reconstructed masked tubelets."""
        x = self.embed(clips).flatten(2).transpose(1, 2) + self.positions
        x = x[mask].reshape(len(clips), -1, x.shape[-1])
        for block in self.encoder:
            x = block(x)
        seen = self.down(self.norm(x))
        table = torch.as_tensor(self.others).expand(len(clips), -1, -1)
        shown, hidden = (table[which].reshape(len(clips), -1, table.shape[-1]) for which in (mask, ~mask))
        x = torch.cat([seen + shown, self.mask_token + hidden], dim=1)
        for block in self.decoder:
            x = block(x)
        out: Tensor = self.head(self.last(x[:, seen.shape[1] :]))
        return out


def reference_step(config: PretrainConfig, device: torch.device) -> Callable[[Batch], None]:
    """The reference's step: discriminator and autoencoder in turn, each with its own forward pass."""
    network = PlainAutoencoder(config.model).to(device)
    width = 4 * (config.model.decoder_embed_dim or 0)
    critic = nn.Sequential(nn.Linear(config.model.patch_dim, width), nn.LeakyReLU(), nn.Linear(width, 1)).to(device)
    optimizers = [torch.optim.AdamW(part.parameters(), lr=1e-5, betas=(0.9, 0.95)) for part in (critic, network)]

    def step(batch: Batch) -> None:
        clips, mask = batch.pixels(device)
        true = to_tubelets(clips, config.model)[~mask].reshape(len(clips), -1, config.model.patch_dim)
        for optimizer, turn in zip(optimizers, ("critic", "autoencoder"), strict=True):
            rebuilt = network(clips, mask)
            if turn == "critic":
                loss = critic(rebuilt.detach()).mean() - critic(true).mean()
            else:
                loss = F.mse_loss(rebuilt, true) - config.adv_weight * critic(rebuilt).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def our_step(config: PretrainConfig, fabric: Fabric) -> Callable[[Batch], None]:
    """This package's step."""
    learner = Learner(config, *build_networks(config), fabric)

    def step(batch: Batch) -> None:
        learner.step([batch], learning_rate=1e-5, seed=0)

    return step


def main() -> None:
    """Print medians, speed-ups, and the share of the device's peak that is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="marlin_vit_small")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    config = PretrainConfig.from_preset("marlin", options.model, batch_size=options.batch_size)
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    fabrics = {name: Fabric(accelerator=accelerator, devices=1, precision=name) for name in ("32-true", "bf16-mixed")}
    device = fabrics["32-true"].device
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch_size, config.model.n_frames, config.model.img_size, config.model.img_size, 3)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    order = torch.rand(options.batch_size, config.model.num_tokens, generator=generator).argsort(dim=1)
    batch = Batch(clips, order < config.num_visible)
    steps = {"reference fp32": reference_step(config, device)}
    steps |= {f"ours {name}": our_step(config, fabric) for name, fabric in fabrics.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            started_s = time.perf_counter()
            step(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first is the warm-up
                times[name].append(time.perf_counter() - started_s)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    peaks = {f"ours {name}": peak_gflops(fabric) for name, fabric in fabrics.items()}
    report: dict[str, Any] = {"model": options.model, "batch": options.batch_size, "device": str(device)}
    report["gflop_a_step"] = round(step_gflop(config), 1)
    for name, median_s in medians.items():
        report[name] = {
            "step_s": round(median_s, 3),
            "clips_per_s": round(options.batch_size / median_s, 3),
            "speed_up": round(medians["reference fp32"] / median_s, 2),
        }
        if name in peaks:
            report[name]["share_of_peak"] = round(step_gflop(config) / peaks[name] / median_s, 3)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
