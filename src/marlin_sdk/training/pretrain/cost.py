"""The minimum arithmetic of pretraining."""

from __future__ import annotations

from marlin_sdk.training.cost import block_macs
from marlin_sdk.training.pretrain.config import PretrainConfig

__all__ = ["step_gflop"]


def step_gflop(config: PretrainConfig) -> float:
    """The minimum arithmetic of one step on one device, in GFLOP.

    The matrix products of the visible tokens' encoder and of the decoder, three times (forward, and backward to inputs
    and to weights); for the discriminator, forward and backward to its weights over real and reconstructed tubelets,
    then forward and backward to its input once for the autoencoder. Recomputation is not counted.
    """
    model, visible = config.model, config.num_visible
    masked = model.num_tokens - visible
    encoder = visible * (model.patch_dim * model.encoder_embed_dim) + block_macs(
        visible, model.encoder_embed_dim, model.encoder_depth, model.mlp_ratio
    )
    dim, depth = model.decoder_embed_dim or 0, model.decoder_depth or 0
    decoder = block_macs(model.num_tokens, dim, depth, model.mlp_ratio)
    decoder += visible * model.encoder_embed_dim * dim + masked * dim * model.patch_dim
    critic = masked * (model.patch_dim + 1) * 4 * dim
    per_clip = 3 * (encoder + decoder) * config.g_steps
    if config.is_adversarial:
        # D: two passes (real, reconstructed) forward and to its weights; G: forward and to its input.
        per_clip += critic * (4 * config.d_steps + 2 * config.g_steps)
    return 2e-9 * per_clip * config.batch_size * config.accumulate
