"""The reference's own modules in training, in its own environment: see `benchmarks/reference_curve.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from marlin_pytorch.model.decoder import MarlinDecoder
from marlin_pytorch.model.encoder import MarlinEncoder
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual alias


class Reference(nn.Module):
    """marlin-pytorch's encoder and decoder, joined as its `Marlin` joins them."""

    def __init__(self, size: dict[str, int]) -> None:
        super().__init__()
        common = {"img_size": size["img_size"], "patch_size": size["patch_size"], "qkv_bias": True, "init_values": 0.0}
        parts = {
            part: {"embed_dim": size[f"{part}_embed_dim"], "depth": size[f"{part}_depth"]}
            | {"num_heads": size[f"{part}_num_heads"]}
            for part in ("encoder", "decoder")
        }
        self.encoder = MarlinEncoder(**common, **parts["encoder"])
        self.enc_dec_proj = nn.Linear(size["encoder_embed_dim"], size["decoder_embed_dim"], bias=False)
        self.decoder = MarlinDecoder(**common, **parts["decoder"])

    def forward(self, clips: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.decoder(self.enc_dec_proj(self.encoder(clips, mask)), mask)
        return out


def main(folder: Path) -> None:
    """Train as `settings.json` says, on `batches.npz`, from `start.pt`; write `losses.json`."""
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(settings["threads"])
    model = Reference(settings["model"])
    model.load_state_dict(torch.load(folder / "start.pt", weights_only=True))
    patch = settings["model"]["patch_size"]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings["lr"], betas=(0.9, 0.95))
    losses = []
    with np.load(folder / "batches.npz") as data:
        clips, order, masks = (data[name] for name in ("clips", "order", "masks"))
    for rows, mask in zip(order, torch.from_numpy(masks), strict=True):
        pixels = torch.from_numpy(clips[rows]).permute(0, 4, 1, 2, 3).float() / 255
        cells = pixels.reshape(len(rows), 3, 8, 2, pixels.shape[3] // patch, patch, -1, patch)
        tubelets = cells.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        target = tubelets[~mask].view(len(rows), -1, tubelets.shape[-1])
        loss = F.mse_loss(model(pixels, mask), target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
