"""`IntermediateLayerGetter`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class IntermediateLayerGetter(nn.ModuleDict):
    """Runs a model's children in order, and returns the outputs of the named ones.

    Args:
        model: its children are run one after another, up to the last one named.
        return_layers: maps the name of a child to the name of its output.
    """

    def __init__(self, model: nn.Module, return_layers: Mapping[str, object]) -> None:
        children = dict(model.named_children())
        last = max(list(children).index(name) for name in return_layers)
        super().__init__(dict(list(children.items())[: last + 1]))
        self.return_layers = {name: str(given) for name, given in return_layers.items()}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) -> the named outputs, in order."""
        outputs = {}
        for name, child in self.items():
            x = child(x)
            if name in self.return_layers:
                outputs[self.return_layers[name]] = x
        return outputs
