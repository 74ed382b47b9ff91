"""The masked autoencoder, encoder and decoder: the model of pretraining and reconstruction."""

from __future__ import annotations

from torch import Tensor, nn

from marlin_sdk.config import ModelConfig
from marlin_sdk.model.decoder import Decoder
from marlin_sdk.model.encoder import Encoder


class MaskedAutoencoder(nn.Module):
    """MARLIN's masked autoencoder (arXiv 2211.06627, figure 2) without its discriminator.

    Args:
        config: its size, decoder included.
    Raises:
        ConfigError: `config` has no decoder.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, clips: Tensor, mask: Tensor, *, with_visible: bool = False) -> Tensor:
        """Reconstruct the masked tubelets.

        Args:
            clips: float (B, 3, 16, 224, 224), RGB, range [0, 1].
            mask: bool (B, 1568), True where VISIBLE, with the same number of visible tokens in each row.
            with_visible: reconstruct the visible tubelets too.
        Returns:
            (B, masked, 1536): the masked tubelets in token order, pixels in (c, pt, ph, pw) order; before them, if
            asked for, the visible ones in token order.
        Raises:
            ShapeError: `clips` or `mask` does not fit the config, or each other.
        """
        out: Tensor = self.decoder(self.encoder.encode_visible(clips, mask), mask, with_visible=with_visible)
        return out
