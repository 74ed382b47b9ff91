"""The networks as plain torch modules: tensors in, tensors out."""

from marlin_sdk.model.autoencoder import MaskedAutoencoder
from marlin_sdk.model.decoder import Decoder
from marlin_sdk.model.encoder import Encoder

__all__ = ["Decoder", "Encoder", "MaskedAutoencoder", "layers", "masks", "tubelets"]
