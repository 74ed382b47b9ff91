"""Train a linear probe on the features of a dump: `python examples/train_on_dump.py DUMP --label emotion`.

The dump is the output of `marlin-extract --table clips.csv -o DUMP`, in any format; the label is a column of the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, random_split

from marlin_sdk import VideoFeatures
from marlin_sdk.dump.dataset import pad_collate
from marlin_sdk.dump.reading import FeatureDump


class LabelledVideos(Dataset[tuple[VideoFeatures, int]]):
    """The videos of a dump that have rows and a label; each is read from disk on access."""

    def __init__(self, dump: FeatureDump, label: str) -> None:
        self.dump = dump
        classes = {id: dump.labels(id)[label] for id in dump if dump.entries[id].rows and label in dump.labels(id)}
        self.ids = list(classes)
        if not self.ids:
            known = sorted({name for id in dump for name in dump.labels(id)})
            raise SystemExit(f"no video of {dump.folder} has a label {label!r}; there are {known}")
        self.classes = sorted(set(map(str, classes.values())))
        self.targets = [self.classes.index(str(value)) for value in classes.values()]

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[VideoFeatures, int]:
        """A video, and the index of its class."""
        return self.dump[self.ids[index]], self.targets[index]


def mean_over_rows(features: Tensor, mask: Tensor) -> Tensor:
    """Mean over the rows without padding: (B, N, D) and its mask (B, N) -> (B, D)."""
    return (features * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on four fifths of the videos, and count the correct predictions on the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dump", help="folder that marlin-extract has filled")
    parser.add_argument("--label", required=True, help="column of the table of inputs")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0, help="processes that read the dump")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    videos = LabelledVideos(FeatureDump(options.dump), options.label)
    train, test = random_split(videos, [len(videos) - len(videos) // 5, len(videos) // 5])
    probe = torch.nn.Linear(videos[0][0].features.shape[-1], len(videos.classes))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-2)

    for epoch in range(options.epochs):
        losses = []
        for batch in DataLoader(train, 32, shuffle=True, collate_fn=pad_collate, num_workers=options.workers):
            logits = probe(mean_over_rows(batch["features"], batch["mask"]))
            loss = torch.nn.functional.cross_entropy(logits, batch["labels"])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")

    right = 0
    with torch.no_grad():
        for batch in DataLoader(test, 32, collate_fn=pad_collate):
            logits = probe(mean_over_rows(batch["features"], batch["mask"]))
            right += int((logits.argmax(dim=1) == batch["labels"]).sum())
    print(f"{len(videos.classes)} classes, {len(train)} videos to train on, {right} of {len(test)} others right")


if __name__ == "__main__":
    main()
