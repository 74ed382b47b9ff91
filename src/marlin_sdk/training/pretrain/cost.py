"""The minimum arithmetic of pretraining."""

from __future__ import annotations

from marlin_sdk.config import ModelConfig
from marlin_sdk.training.pretrain.config import PretrainConfig

__all__ = ["model_gmac", "step_gflop"]


def step_gflop(config: PretrainConfig) -> float:
    """The minimum arithmetic of one step on one device, in GFLOP.

    The matrix products of the visible tokens' encoder and of the decoder, three times (forward, and backward to inputs
    and to weights); for the discriminator, forward and backward to its weights over real and reconstructed tubelets,
    then forward and backward to its input once for the autoencoder. Recomputation is not counted.
    """
    model, visible = config.model, config.num_visible
    masked = model.num_tokens - visible
    encoder = visible * (model.patch_dim * model.encoder_embed_dim) + _blocks(
        visible, model.encoder_embed_dim, model.encoder_depth, model.mlp_ratio
    )
    dim, depth = model.decoder_embed_dim or 0, model.decoder_depth or 0
    decoder = _blocks(model.num_tokens, dim, depth, model.mlp_ratio)
    decoder += visible * model.encoder_embed_dim * dim + masked * dim * model.patch_dim
    critic = masked * (model.patch_dim + 1) * 4 * dim
    per_clip = 3 * (encoder + decoder) * config.g_steps
    if config.is_adversarial:
        # D: two passes (real, reconstructed) forward and to its weights; G: forward and to its input.
        per_clip += critic * (4 * config.d_steps + 2 * config.g_steps)
    return 2e-9 * per_clip * config.batch_size * config.accumulate


def _blocks(tokens: int, dim: int, depth: int, mlp_ratio: float) -> float:
    """Multiplications of a stack of blocks: projections, MLP, and the two products of attention."""
    linear = tokens * dim * dim * (4 + 2 * mlp_ratio)
    return depth * (linear + 2 * tokens * tokens * dim)


def model_gmac(model: ModelConfig) -> float:
    """GMAC of the encoder over a whole clip: 56.9, 180.3 and 596.8 for the published models."""
    embed = model.num_tokens * model.patch_dim * model.encoder_embed_dim
    blocks = _blocks(model.num_tokens, model.encoder_embed_dim, model.encoder_depth, model.mlp_ratio)
    return 1e-9 * (embed + blocks)
