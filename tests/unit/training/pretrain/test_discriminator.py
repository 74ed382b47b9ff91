"""The critic of single tubelets."""

from __future__ import annotations

import pytest
import torch
from tests.making import TINY

from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError
from marlin_sdk.training.pretrain.losses import Discriminator


def test_names_and_shapes_are_those_of_published_checkpoints() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in Discriminator(TINY).state_dict().items()}
    assert shapes == {
        "layers.0.linear.weight": (64, 1536),
        "layers.0.linear.bias": (64,),
        "layers.1.linear.weight": (1, 64),
        "layers.1.linear.bias": (1,),
    }


def test_width_follows_the_decoder() -> None:
    with torch.device("meta"):
        critic = Discriminator(PRESETS["marlin_vit_base_ytf"])
    assert critic.state_dict()["layers.0.linear.weight"].shape == (4 * 384, 1536)


def test_score_is_two_layers_with_a_leaky_relu_between() -> None:
    critic = Discriminator(TINY)
    tubelets = torch.randn(2, 3, 1536)
    state = critic.state_dict()
    hidden = tubelets @ state["layers.0.linear.weight"].T + state["layers.0.linear.bias"]
    bent = torch.where(hidden > 0, hidden, 0.01 * hidden)
    assert (hidden < 0).any()
    expected = bent @ state["layers.1.linear.weight"].T + state["layers.1.linear.bias"]
    assert torch.allclose(critic(tubelets), expected, atol=1e-5)
    assert critic(tubelets).shape == (2, 3, 1)


def test_each_tubelet_is_scored_independently() -> None:
    critic = Discriminator(TINY)
    tubelets = torch.randn(1, 4, 1536)
    assert torch.allclose(critic(tubelets)[:, 2:], critic(tubelets[:, 2:]), atol=1e-6)


def test_config_without_decoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="no decoder"):
        Discriminator(TINY.without_decoder())
