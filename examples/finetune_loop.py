"""Train the encoder on labelled clips in plain torch, and save it: see docs/how-to/own-loop.md.

`python examples/finetune_loop.py clips.csv FACES --label emotion -o tuned`, after `marlin-sdk prepare VIDEOS -o FACES`.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader

from marlin_sdk import ClipDataset, Marlin


def main() -> None:
    """Train on the clips of the split "train", and count the correct predictions on those of "test"."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="path, label, split and group of each clip")
    parser.add_argument("faces", help="folder that marlin-sdk prepare has filled")
    parser.add_argument("--label", required=True, help="column of the table")
    parser.add_argument("-o", "--output", required=True, help="folder for the trained encoder")
    parser.add_argument("--model", default="marlin_vit_small_ytf")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-4)
    options = parser.parse_args()

    torch.manual_seed(0)
    model = Marlin.from_pretrained(options.model)
    data = {"shards": options.faces, "config": model.config, "as_float": True}
    train = ClipDataset(options.table, options.label, split="train", **data)
    encoder = model.encoder.requires_grad_()
    head = torch.nn.Linear(model.embedding_dim, len(train.classes), device=model.device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=options.lr)
    for epoch in range(options.epochs):
        train.set_epoch(epoch)  # another random window of each clip
        total = 0.0
        for batch in DataLoader(train, 8, shuffle=True):
            logits = head(encoder(batch["clip"].to(model.device)))
            loss = torch.nn.functional.cross_entropy(logits, batch["label"].to(model.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(logits)
        print(f"epoch {epoch + 1}: loss {total / len(train):.3f}")
    model.save_pretrained(options.output)  # the encoder; the head is yours to keep

    right, test = 0, ClipDataset(options.table, options.label, split="test", windows="all", **data)
    with torch.no_grad():
        for batch in DataLoader(test, 8):
            guess = head(encoder(batch["clip"].to(model.device))).argmax(dim=1).cpu()
            right += int((guess == batch["label"]).sum())
    print(f"{options.output}: {right} of {len(test)} windows of the test clips right")


if __name__ == "__main__":
    main()
