"""Initial weights: a model initialised from a checkpoint computes the same as the original."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.making import TINY, lay
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk import Marlin, ModelConfig
from marlin_sdk.errors import WeightsError
from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.training.pretrain.initialise import initialise_from
from marlin_sdk.training.pretrain.losses import Discriminator
from marlin_sdk.weights.checkpoints import to_published_keys

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
CLIPS = torch.rand(2, *TINY.clip_shape, generator=torch.Generator().manual_seed(1))
MASK = (torch.arange(32) % 5 == 0).expand(2, 32)


def network(seed: int) -> MaskedAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = MaskedAutoencoder(TINY)
        for parameter in made.parameters():
            if parameter.requires_grad and parameter.ndim <= 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return made


def official(seed: int = 7) -> dict[str, Tensor]:
    """A pretraining checkpoint in the names and shapes of VideoMAE's repository, random."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng) * (0.3 if len(shape) == 1 else 1 / shape[-1] ** 0.5)

    state = {"encoder.patch_embed.proj.weight": draw(32, 3, 2, 16, 16) / 40, "encoder.patch_embed.proj.bias": draw(32)}
    for part, dim, depth in (("encoder", 32, 2), ("decoder", 16, 1)):
        for index in range(depth):
            stem = f"{part}.blocks.{index}"
            for norm in ("norm1", "norm2"):
                state |= {f"{stem}.{norm}.weight": 1 + draw(dim), f"{stem}.{norm}.bias": draw(dim)}
            state |= {f"{stem}.attn.q_bias": draw(dim), f"{stem}.attn.v_bias": draw(dim)}
            state |= {f"{stem}.attn.qkv.weight": draw(3 * dim, dim)}
            state |= {f"{stem}.attn.proj.weight": draw(dim, dim), f"{stem}.attn.proj.bias": draw(dim)}
            state |= {f"{stem}.mlp.fc1.weight": draw(4 * dim, dim), f"{stem}.mlp.fc1.bias": draw(4 * dim)}
            state |= {f"{stem}.mlp.fc2.weight": draw(dim, 4 * dim), f"{stem}.mlp.fc2.bias": draw(dim)}
        state |= {f"{part}.norm.weight": 1 + draw(dim), f"{part}.norm.bias": draw(dim)}
    state |= {"decoder.head.weight": draw(1536, 16), "decoder.head.bias": draw(1536)}
    return state | {"encoder_to_decoder.weight": draw(16, 32), "mask_token": draw(1, 1, 16)}


def hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of transformers' VideoMAEForPreTraining."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        key = name.replace("encoder.blocks", "videomae.encoder.layer").replace(
            "decoder.blocks", "decoder.decoder_layers"
        )
        key = key.replace("encoder.patch_embed.proj", "videomae.embeddings.patch_embeddings.projection")
        key = key.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
        key = key.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")
        key = key.replace(".attn.proj.", ".attention.output.dense.").replace("encoder.norm.", "videomae.layernorm.")
        if key.endswith(".attn.qkv.weight"):
            stem = key.removesuffix("attn.qkv.weight")
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[f"{stem}attention.attention.{part}.weight"] = rows.clone()
            continue
        out[key.replace(".attn.", ".attention.attention.")] = tensor
    return out


def videomae(state: Mapping[str, Tensor], clips: Tensor, mask: Tensor, positions: MaskedAutoencoder) -> Tensor:
    """A plain implementation of VideoMAE: pixels (pt, ph, pw, c) of the masked tubelets of normalised clips."""

    def norm(x: Tensor, stem: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{stem}.weight"], state[f"{stem}.bias"], 1e-5)

    def blocks(x: Tensor, part: str, depth: int, heads: int) -> Tensor:
        for index in range(depth):
            stem = f"{part}.blocks.{index}"
            y = norm(x, f"{stem}.norm1")
            q_bias, v_bias = state[f"{stem}.attn.q_bias"], state[f"{stem}.attn.v_bias"]
            qkv = y @ state[f"{stem}.attn.qkv.weight"].T + torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
            q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
            mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
            y = mixed.transpose(1, 2).flatten(2)
            x = x + y @ state[f"{stem}.attn.proj.weight"].T + state[f"{stem}.attn.proj.bias"]
            y = norm(x, f"{stem}.norm2") @ state[f"{stem}.mlp.fc1.weight"].T + state[f"{stem}.mlp.fc1.bias"]
            x = x + F.gelu(y) @ state[f"{stem}.mlp.fc2.weight"].T + state[f"{stem}.mlp.fc2.bias"]
        return norm(x, f"{part}.norm") if part == "encoder" else x

    pixels = (clips - MEAN[None, :, None, None, None]) / STD[None, :, None, None, None]
    weight, bias = state["encoder.patch_embed.proj.weight"], state["encoder.patch_embed.proj.bias"]
    tokens = F.conv3d(pixels, weight, bias, stride=(2, 16, 16)).flatten(2).transpose(1, 2)
    tokens = tokens + positions.encoder.positions
    seen = blocks(tokens[mask].view(len(clips), -1, 32), "encoder", 2, 2) @ state["encoder_to_decoder.weight"].T
    table = positions.decoder.positions.expand(len(clips), -1, -1)
    shown, hidden = (table[which].view(len(clips), -1, 16) for which in (mask, ~mask))
    x = blocks(torch.cat([seen + shown, state["mask_token"] + hidden], dim=1), "decoder", 1, 2)
    x = norm(x[:, seen.shape[1] :], "decoder.norm")
    return x @ state["decoder.head.weight"].T + state["decoder.head.bias"]


@pytest.mark.parametrize("form", ["model", "module", "hugging face", "hugging face 5"])
def test_videomae_weights_compute_what_videomae_computes(tmp_path: Path, form: str) -> None:
    """Normalisation folded in, the head's channels first, positions retained, nothing of the file lost."""
    state = official()
    names = state.keys()
    if form.startswith("hugging face"):
        path = tmp_path / "model.safetensors"
        renamed = hugging_face(state)
        if form.endswith("5"):  # transformers 5 keeps these biases in the linear layers
            new = (("q_bias", "query.bias"), ("v_bias", "value.bias"))
            renamed = {key.replace(*new[0]).replace(*new[1]): tensor for key, tensor in renamed.items()}
        save_file(renamed, path)
        names = renamed.keys()
    else:
        path = tmp_path / "checkpoint.pth.pt"
        torch.save({form: state, "epoch": 3, "args": argparse.Namespace(mask_ratio=0.9)}, path)
    made = network(1)
    found = initialise_from(made, path)
    expected = videomae(state, CLIPS, MASK, made)
    with torch.no_grad():
        got = made(CLIPS, MASK)
    channels_last = got.reshape(2, -1, 3, 512).transpose(2, 3).flatten(2)  # (c, pt ph pw) -> (pt ph pw, c)
    assert torch.allclose(channels_last, expected, atol=2e-4)
    assert got.std() > 0.3
    assert found.fresh == ["encoder.positions", "decoder.positions"]
    assert found.left_out == {}
    assert found.taken.keys() | set(found.fresh) == made.state_dict().keys()
    origins = " ".join(found.taken.values())
    assert all(name in origins for name in names)
    assert "ImageNet folded in" in found.taken["encoder.patch_embedding.projection.weight"]
    assert "(c, pt, ph, pw)" in found.taken["decoder.head.weight"]


def test_fine_tuned_videomae_gives_the_encoder_and_reports_omitted_tensors(tmp_path: Path) -> None:
    state = {key.removeprefix("encoder."): tensor for key, tensor in official().items() if key.startswith("encoder.")}
    state |= {f"fc_norm.{name}": state.pop(f"norm.{name}") for name in ("weight", "bias")}
    state |= {"head.weight": torch.zeros(400, 32), "head.bias": torch.zeros(400)}
    torch.save({"module": state}, tmp_path / "finetuned.pt")
    made, before = network(1), network(1)
    found = initialise_from(made, tmp_path / "finetuned.pt")
    assert set(found.left_out) == {"head.weight", "head.bias"}
    assert torch.equal(made.encoder.norm.weight, state["fc_norm.weight"])
    assert torch.equal(made.decoder.head.weight, before.decoder.head.weight)
    assert {key for key in found.fresh if key.startswith("decoder.")} == {
        key for key in made.state_dict() if key.startswith("decoder.")
    }


def test_marlin_weights_with_decoder_and_discriminator(tmp_path: Path) -> None:
    source = network(2)
    critic = {f"discriminator.{key}": tensor for key, tensor in Discriminator(TINY).state_dict().items()}
    torch.save({"state_dict": {**to_published_keys(source.state_dict()), **critic}}, tmp_path / "run.ckpt")
    made = network(1)
    found = initialise_from(made, tmp_path / "run.ckpt")
    assert all(torch.equal(tensor, source.state_dict()[key]) for key, tensor in made.state_dict().items())
    assert found.left_out == dict.fromkeys(critic, "the discriminator is initialised at random")
    assert found.fresh == []
    assert found.taken["encoder.blocks.1.mlp.up.weight"] == "encoder.blocks.1.mlp.layers.0.linear.weight"


def test_marlin_encoder_alone_leaves_the_decoder_fresh(tmp_path: Path, tiny: Marlin) -> None:
    state = {f"encoder.{key}": tensor for key, tensor in tiny.encoder.state_dict().items()}
    torch.save(to_published_keys(state), tmp_path / "tiny.encoder.pt")
    made = network(1)
    found = initialise_from(made, tmp_path / "tiny.encoder.pt")
    key = "blocks.0.attn.qkv.weight"
    assert torch.equal(made.encoder.state_dict()[key], tiny.encoder.state_dict()[key])
    assert set(found.fresh) == {key for key in made.state_dict() if key.startswith("decoder.")}
    assert str(found).endswith(f"(MARLIN): 31 tensors taken, 0 left out, {len(found.fresh)} fresh")
    assert len(found.lines()) == 1 + 31 + len(found.fresh)


def test_checkpoint_of_another_size_lists_every_difference(tmp_path: Path) -> None:
    other = MaskedAutoencoder(ModelConfig(**{**TINY.to_dict(), "encoder_embed_dim": 64}))
    torch.save(to_published_keys(other.state_dict()), tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"encoder\.norm\.weight has shape \(64,\), expected \(32,\)"):
        initialise_from(network(1), tmp_path / "wide.pt")


def test_incomplete_decoder_is_refused(tmp_path: Path) -> None:
    state = official()
    del state["decoder.norm.weight"]
    torch.save({"model": state}, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match=r"missing decoder\.norm\.weight"):
        initialise_from(network(1), tmp_path / "half.pt")


def test_hugging_face_attention_without_keys_is_refused(tmp_path: Path) -> None:
    state = hugging_face(official())
    del state["videomae.encoder.layer.0.attention.attention.key.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"is missing encoder\.blocks\.0\.attn\.key\.weight"):
        initialise_from(network(1), tmp_path / "model.safetensors")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="no MARLIN encoder"):
        initialise_from(network(1), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not a plain checkpoint"):
        initialise_from(network(1), lay(tmp_path / "junk.pt"))
