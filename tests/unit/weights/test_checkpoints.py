"""Reading any supported checkpoint, strictly, and without running its code."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tests.making import TINY
from torch import Tensor

from marlin_sdk import Marlin
from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.model import Encoder, MaskedAutoencoder
from marlin_sdk.weights.checkpoints import (
    from_published_keys,
    infer_config,
    load_weights,
    read_checkpoint,
    read_config,
    to_published_keys,
)
from marlin_sdk.weights.tensors import read_tensors

State = dict[str, Tensor]

# Heads of 64, as in the published models, so that the size of a bare file can be inferred.
INFERABLE = ModelConfig(
    encoder_embed_dim=128,
    encoder_depth=2,
    encoder_num_heads=2,
    decoder_embed_dim=64,
    decoder_depth=1,
    decoder_num_heads=1,
    img_size=32,
)


@cache
def _weights(config: ModelConfig) -> State:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        published = to_published_keys(MaskedAutoencoder(config).state_dict())
    return {key: tensor + 0.01 * torch.rand_like(tensor) for key, tensor in published.items()}


def published(config: ModelConfig = TINY, *, decoder: bool = True) -> State:
    """A state dict under the keys of the published files; its position table is not the computed one."""
    wanted = _weights(config).items()
    return {key: tensor.clone() for key, tensor in wanted if decoder or key.startswith("encoder.")}


def encoder_pt(folder: Path) -> Path:
    torch.save(published(decoder=False), folder / "own.encoder.pt")
    return folder / "own.encoder.pt"


def full_pt(folder: Path) -> Path:
    state = OrderedDict(published())
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]  # as nn.Module.state_dict() leaves it
    torch.save(state, folder / "own.full.pt")
    return folder / "own.full.pt"


def legacy_pt(folder: Path) -> Path:
    torch.save(published(), folder / "old.pt", _use_new_zipfile_serialization=False)
    return folder / "old.pt"


def parameters_pt(folder: Path) -> Path:
    torch.save({key: torch.nn.Parameter(tensor) for key, tensor in published().items()}, folder / "parameters.pt")
    return folder / "parameters.pt"


def lightning(folder: Path, **hyper_parameters: Any) -> Path:
    discriminator = {
        f"discriminator.layers.{layer}.linear.{kind}": torch.rand(4, 4)
        for layer in (0, 1)
        for kind in ("weight", "bias")
    }
    content = {
        "state_dict": {**published(), **discriminator},
        "epoch": 3,
        "pytorch-lightning_version": "1.7.7",
        "optimizer_states": [{"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}}],
        "hyper_parameters": {**TINY.to_dict(), "weight_decay": 0.05, "drop_rate": 0.1, **hyper_parameters},
    }
    torch.save(content, folder / "epoch=3.ckpt")
    return folder / "epoch=3.ckpt"


def hub(folder: Path) -> Path:
    values = {**TINY.to_dict(), "model_type": "marlin", "qkv_bias": True, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(values))
    tensors = {f"marlin.{key}": tensor for key, tensor in published(decoder=False).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def bare_safetensors(folder: Path) -> Path:
    save_file(published(), folder / "own.safetensors")
    return folder / "own.safetensors"


FORMATS = [encoder_pt, full_pt, legacy_pt, parameters_pt, lightning, hub, bare_safetensors]


def _load(path: Path, **arguments: Any) -> Marlin:
    return Marlin.from_pretrained(path, device="cpu", detector="lbp", **arguments)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_weights_that_were_saved(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    model = _load(form(tmp_path), config=None if form in (hub, lightning) else TINY)
    state = to_published_keys({f"encoder.{key}": tensor for key, tensor in model.encoder.state_dict().items()})
    expected = published(decoder=False)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert model.decoder is None
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


@pytest.mark.parametrize("form", [full_pt, legacy_pt, parameters_pt, lightning, bare_safetensors])
def test_decoder_is_loaded_on_request(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    model = _load(form(tmp_path), config=None if form is lightning else TINY, decoder=True)
    assert model.decoder is not None
    assert torch.equal(model.decoder.embed.weight, published()["enc_dec_proj.weight"])
    assert torch.equal(model.decoder.positions, published()["decoder.pos_embedding.emb"])
    assert model.config == TINY


@pytest.mark.parametrize("form", [encoder_pt, hub])
def test_file_without_the_requested_decoder_is_refused(tmp_path: Path, form: Callable[[Path], Path]) -> None:
    with pytest.raises(WeightsError, match="holds no decoder"):
        _load(form(tmp_path), config=TINY, decoder=True)


def test_positions_are_loaded_and_not_recomputed(tmp_path: Path) -> None:
    state = published(decoder=False)
    state["encoder.pos_embedding.emb"] = torch.full((1, TINY.num_tokens, 32), 0.25)
    torch.save(state, tmp_path / "own.pt")
    model = _load(tmp_path / "own.pt", config=TINY)
    assert (model.encoder.positions == 0.25).all()
    black = model.encoder.embed(torch.zeros(1, *TINY.clip_shape))
    assert torch.allclose(black, state["encoder.patch_embedding.projection.bias"] + 0.25)


def test_half_precision_file_is_computed_in_the_requested_dtype(tmp_path: Path) -> None:
    torch.save({key: tensor.half() for key, tensor in published().items()}, tmp_path / "half.pt")
    model = _load(tmp_path / "half.pt", config=TINY)
    assert {parameter.dtype for parameter in model.encoder.parameters()} == {torch.float32}


def test_config_of_a_lightning_file_comes_from_its_hyper_parameters(tmp_path: Path) -> None:
    config, state = read_checkpoint(lightning(tmp_path))
    assert config == TINY
    assert not [key for key in state if "discriminator" in key]
    with pytest.raises(ConfigError, match=r"epoch=3\.ckpt.*qk_scale"):
        read_checkpoint(lightning(tmp_path, qk_scale=0.5))
    with pytest.raises(ConfigError, match=r"epoch=3\.ckpt.*encoder_depth"):
        read_checkpoint(lightning(tmp_path, encoder_depth="two"))


def test_explicit_config_overrides_that_of_the_file(tmp_path: Path) -> None:
    other = ModelConfig(**{**TINY.to_dict(), "encoder_num_heads": 4})
    assert read_checkpoint(lightning(tmp_path), config=other)[0].encoder_num_heads == 4
    assert _load(hub(tmp_path), config=other.without_decoder()).config.encoder_num_heads == 4


def test_preset_is_used_for_a_file_without_a_config(tmp_path: Path) -> None:
    content = {"state_dict": published(INFERABLE), "hyper_parameters": {"lr": 0.1}}
    torch.save(content, tmp_path / "own.ckpt")
    assert read_checkpoint(tmp_path / "own.ckpt")[0] == INFERABLE
    config, _ = read_checkpoint(tmp_path / "own.ckpt", preset="marlin_vit_small_ytf")
    assert config == PRESETS["marlin_vit_small_ytf"]


# What can be inferred from a bare state dict.


@pytest.mark.parametrize("decoder", [True, False])
def test_config_of_a_bare_file_is_inferred(tmp_path: Path, decoder: bool) -> None:
    torch.save(published(INFERABLE, decoder=decoder), tmp_path / "own.pt")
    config, _ = read_checkpoint(tmp_path / "own.pt")
    assert config == (INFERABLE if decoder else INFERABLE.without_decoder())


@pytest.mark.parametrize("name", PRESETS)
def test_published_sizes_are_inferred(name: str) -> None:
    with torch.device("meta"):
        state = MaskedAutoencoder(PRESETS[name]).state_dict()
    assert infer_config(state, name) == PRESETS[name]


@settings(deadline=None, max_examples=60)
@given(
    heads=st.integers(1, 16),
    hidden=st.integers(1, 4096),
    depth=st.integers(1, 3),
    tubelet=st.sampled_from([1, 2, 4, 8, 16]),
    patch=st.integers(1, 32),
    side=st.integers(1, 14),
)
def test_any_size_with_heads_of_64_is_inferred(
    heads: int, hidden: int, depth: int, tubelet: int, patch: int, side: int
) -> None:
    dim = 64 * heads
    state = {
        "encoder.patch_embedding.projection.weight": torch.empty(dim, 3, tubelet, patch, patch, device="meta"),
        "encoder.positions": torch.empty(1, 16 // tubelet * side**2, dim, device="meta"),
        **{f"encoder.blocks.{i}.mlp.up.weight": torch.empty(hidden, dim, device="meta") for i in range(depth)},
    }
    config = infer_config(state, "own.pt")
    assert config.clip_shape == (3, 16, side * patch, side * patch)
    assert (config.tubelet_size, config.patch_size, config.encoder_depth) == (tubelet, patch, depth)
    assert (config.encoder_embed_dim, config.encoder_num_heads) == (dim, heads)
    with torch.device("meta"):
        assert Encoder(config).state_dict()["blocks.0.mlp.up.weight"].shape == (hidden, dim)


def test_unknown_number_of_heads_needs_a_config(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"dim 32 is not a multiple of 64.*pass config="):
        read_checkpoint(encoder_pt(tmp_path))


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("encoder.pos_embedding.emb", (1, 33, 128)),
        ("encoder.pos_embedding.emb", (128,)),
        ("encoder.patch_embedding.projection.weight", (128, 1536)),
        ("encoder.blocks.0.mlp.layers.0.linear.weight", ()),
        ("decoder.mask_token", ()),
        ("decoder.mask_token", (1, 1, 65)),
    ],
)
def test_shapes_without_a_size_need_a_config(key: str, shape: tuple[int, ...]) -> None:
    state = from_published_keys({**published(INFERABLE), key: torch.zeros(shape)}, "own.pt")
    with pytest.raises(WeightsError, match=r"own\.pt.*pass config="):
        infer_config(state, "own.pt")


# Strictness.


def _reload(state: Mapping[str, Tensor], *, decoder: bool = False) -> None:
    network = MaskedAutoencoder(TINY) if decoder else Encoder(TINY.without_decoder())
    load_weights(network, from_published_keys(state, "own.pt"), source="own.pt")


def test_missing_unexpected_and_misshapen_tensors_are_listed_by_published_name() -> None:
    state = published()
    del state["encoder.norm.bias"], state["enc_dec_proj.weight"]
    state["encoder.blocks.2.norm1.weight"] = torch.zeros(32)
    state["head.weight"] = torch.zeros(7, 32)
    state["encoder.patch_embedding.projection.weight"] = torch.zeros(32, 3, 2, 8, 8)
    state["encoder.blocks.0.mlp.layers.1.linear.weight"] = torch.zeros(32, 64)
    with pytest.raises(WeightsError) as caught:
        _reload(state, decoder=True)
    assert str(caught.value).splitlines() == [
        "own.pt does not fit the model; it differs in 6 places:",
        "  encoder.blocks.0.mlp.layers.1.linear.weight has shape (32, 64), expected (32, 128)",
        "  encoder.patch_embedding.projection.weight has shape (32, 3, 2, 8, 8), expected (32, 3, 2, 16, 16)",
        "  missing enc_dec_proj.weight (16, 32)",
        "  missing encoder.norm.bias (32,)",
        "  unexpected encoder.blocks.2.norm1.weight (32,)",
        "  unexpected head.weight (7, 32)",
    ]


def test_a_long_list_of_differences_is_cut() -> None:
    state = published() | {f"head.{index}": torch.zeros(1) for index in range(1000)}
    with pytest.raises(WeightsError, match="differs in 1000 places") as caught:
        _reload(state, decoder=True)
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (202, "  and 800 more")


@pytest.mark.parametrize("key", sorted(_weights(TINY)))
def test_each_tensor_is_needed(key: str) -> None:
    state = published()
    del state[key]
    with pytest.raises(WeightsError, match=f"missing {key} "):
        _reload(state, decoder=True)


def test_kernel_of_another_layout_is_refused() -> None:
    """(D, T, C, H, W) has as many values as (D, C, T, H, W), in another order."""
    state = published()
    key = "encoder.patch_embedding.projection.weight"
    state[key] = state[key].transpose(1, 2).contiguous()
    with pytest.raises(WeightsError, match=r"has shape \(32, 2, 3, 16, 16\), expected \(32, 3, 2, 16, 16\)"):
        _reload(state)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((32,), float("nan")), "encoder.norm.bias holds NaN or infinity"),
        (torch.full((32,), float("inf")), "encoder.norm.bias holds NaN or infinity"),
        (torch.zeros(32, dtype=torch.int64), "encoder.norm.bias is torch.int64"),
        (torch.zeros(32).to_sparse(), "encoder.norm.bias is torch.float32, torch.sparse_coo"),
        (torch.zeros(32, device="meta"), "on meta; expected dense"),
    ],
)
def test_invalid_weights_are_refused(value: Tensor, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        _reload({**published(), "encoder.norm.bias": value})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_whose_sum_overflows_are_weights(dtype: torch.dtype) -> None:
    _reload({**published(), "encoder.norm.bias": torch.full((32,), torch.finfo(dtype).max, dtype=dtype)})


def test_one_tensor_under_two_names_is_refused() -> None:
    state = published()
    with pytest.raises(WeightsError, match=r"encoder\.norm\.bias twice.*'marlin\.encoder\.norm\.bias'"):
        _reload({**state, "marlin.encoder.norm.bias": torch.zeros(32)})
    with pytest.raises(WeightsError, match=r"encoder\.pos_embedding\.emb twice"):
        _reload({**state, "encoder.positions": torch.zeros(1, 32, 32)})


def test_config_of_another_depth_names_the_blocks(tmp_path: Path) -> None:
    deeper = ModelConfig(**{**TINY.to_dict(), "encoder_depth": 3})
    with pytest.raises(WeightsError, match=r"13 places:\n  missing encoder\.blocks\.2\.attn\.proj\.bias \(32,\)"):
        _load(encoder_pt(tmp_path), config=deeper)


def test_decoder_missing_from_the_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds a decoder.*decoder_\* values"):
        read_checkpoint(full_pt(tmp_path), config=TINY.without_decoder())


# Names.


def test_renaming_of_keys_is_a_round_trip() -> None:
    state = MaskedAutoencoder(TINY).state_dict()
    there = to_published_keys(state)
    again = from_published_keys(there, "own.pt")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    assert there["encoder.patch_embedding.projection.weight"].shape == (32, 3, 2, 16, 16)
    assert {"enc_dec_proj.weight", "decoder.mask_token", "encoder.pos_embedding.emb"} <= there.keys()
    assert sum(".mlp.layers." in key for key in there) == 3 * 4


@pytest.mark.shared
@pytest.mark.parametrize("name", PRESETS)
def test_names_and_shapes_are_those_of_the_published_files(shared: Path, name: str) -> None:
    with torch.device("meta"):
        there = to_published_keys(MaskedAutoencoder(PRESETS[name]).state_dict())
    expected = json.loads((shared / "golden" / f"{name}.keys.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in there.items()} == expected


def test_an_encoder_alone_has_no_published_names() -> None:
    with pytest.raises(WeightsError, match=r"begin with 'encoder\.'.*positions"):
        to_published_keys(Encoder(TINY).state_dict())


# Files that are not a checkpoint, or malicious ones.


class Bomb:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def _plain_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


def _torch_zip(path: Path, content: object) -> None:
    torch.save(content, path)


def _torch_legacy(path: Path, content: object) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's, before it refuses the file
@pytest.mark.parametrize("save", [_plain_pickle, _torch_zip, _torch_legacy])
@pytest.mark.parametrize("place", ["whole", "state_dict", "hyper_parameters", "callbacks", "key"])
@pytest.mark.parametrize("name", ["own.pt", "own.ckpt", "own.safetensors", "model.encoder.pt"])
def test_malicious_pickle_runs_nothing(
    tmp_path: Path, name: str, place: str, save: Callable[[Path, object], None]
) -> None:
    trace, bomb = tmp_path / "trace", Bomb(tmp_path / "trace")
    contents: dict[str, object] = {
        "whole": bomb,
        "state_dict": {"state_dict": {**published(), "encoder.extra": bomb}},
        "hyper_parameters": {"state_dict": published(), "hyper_parameters": {**TINY.to_dict(), "optimiser": bomb}},
        "callbacks": {"state_dict": published(), "callbacks": [bomb]},
        "key": {("encoder", bomb): 1},
    }
    save(tmp_path / name, contents[place])
    with pytest.raises(WeightsError, match=name):
        _load(tmp_path / name, config=TINY)
    assert not trace.exists()


def test_the_malicious_pickle_works_if_opened_unsafely(tmp_path: Path) -> None:
    _torch_zip(tmp_path / "own.pt", {"callbacks": [Bomb(tmp_path / "trace")]})
    torch.load(tmp_path / "own.pt", weights_only=False)
    assert (tmp_path / "trace").is_dir()


def test_refused_pickle_says_what_to_do(tmp_path: Path) -> None:
    _torch_zip(tmp_path / "own.ckpt", {"state_dict": published(), "hyper_parameters": {"root": Path("data")}})
    with pytest.raises(WeightsError, match=r"own\.ckpt is refused.*save its state dict alone"):
        read_checkpoint(tmp_path / "own.ckpt")


def test_zip_bomb_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "bomb.pt"
    with zipfile.ZipFile(full_pt(tmp_path)) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in plain.namelist():
            archive.writestr(member, plain.read(member))
        archive.writestr("own.full/data/99", bytes(50_000_000))
    with pytest.raises(WeightsError, match=r"bomb\.pt is refused.*would unpack to 5\d{7}"):
        read_checkpoint(packed, config=TINY)


def test_tensor_that_claims_terabytes_costs_nothing(tmp_path: Path) -> None:
    """Strides of 0 make a tensor of any shape from four bytes."""
    wide = torch.zeros(1).expand(1, 1568, 1 << 16)
    state = {**published(), "encoder.pos_embedding.emb": wide}
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=r"pos_embedding.emb has shape \(1, 1568, 65536\)"):
        _load(tmp_path / "own.pt", config=TINY)


def test_config_that_claims_terabytes_costs_nothing(tmp_path: Path) -> None:
    huge = {**TINY.to_dict(), "encoder_embed_dim": 1 << 14, "img_size": 1 << 11, "encoder_depth": 3}
    folder = hub(tmp_path)
    (folder / "config.json").write_text(json.dumps(huge))
    with pytest.raises(WeightsError, match=r"expected \(1, 131072, 16384\)"):  # tens of gigabytes
        _load(folder)
    (folder / "config.json").write_text(json.dumps({**huge, "img_size": 1 << 16}))
    with pytest.raises(ConfigError, match=r"config\.json: ModelConfig describes a model of .* parameters"):
        _load(folder)
    (folder / "config.json").write_text(json.dumps({**huge, "encoder_depth": 10**9}))
    with pytest.raises(ConfigError, match=r"config\.json: ModelConfig\.encoder_depth is 1000000000"):
        _load(folder)


@pytest.mark.parametrize("form", [full_pt, legacy_pt, lightning, bare_safetensors])
@settings(deadline=None, max_examples=25, database=None)
@given(share=st.floats(0, 0.9999))
def test_truncated_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, form: Callable[[Path], Path], share: float
) -> None:
    path = form(tmp_path_factory.mktemp("cut"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightsError, match=path.name):
        read_checkpoint(path, config=TINY)


@pytest.mark.parametrize("form", [full_pt, legacy_pt, lightning, bare_safetensors])
@settings(deadline=None, max_examples=40, database=None)
@given(data=st.data())
def test_damaged_file_never_raises_another_error(
    tmp_path_factory: pytest.TempPathFactory, form: Callable[[Path], Path], data: st.DataObject
) -> None:
    path = form(tmp_path_factory.mktemp("damaged"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        near = data.draw(st.sampled_from([2000, len(content)]))  # most of a checkpoint's structure is at its start
        content[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    def outcome() -> str:
        try:
            _, state = read_checkpoint(path, config=TINY)
            load_weights(Encoder(TINY), state, source=path.name)
            return "loaded"
        except (WeightsError, ConfigError) as error:
            return str(error)

    assert outcome() == "loaded" or path.name in outcome()


@pytest.mark.parametrize("name", ["own.pt", "own.ckpt", "own.safetensors"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02.", bytes(4096)])
def test_file_that_is_not_a_checkpoint_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a state dict"),
        ({"epoch": 3}, "is not a state dict"),
        ({"model": {"encoder.norm.bias": torch.zeros(3)}}, "is not a state dict"),
        ({1: torch.zeros(3)}, "is not a state dict"),
        ({"state_dict": None}, "is not a state dict"),
        ({}, "holds no MARLIN encoder.*got nothing"),
        ({"fc.weight": torch.zeros(3)}, r"holds no MARLIN encoder.*got fc\.weight"),
    ],
)
def test_content_that_is_not_a_state_dict_is_described(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "own.pt")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such checkpoint: .*gone\.pt"):
        read_checkpoint(tmp_path / "gone.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "holds a list"),
        (b"{}", "is missing the keys"),
        (b'{"encoder_embed_dim": NaN, "encoder_depth": 1, "encoder_num_heads": 1}', "encoder_embed_dim is nan"),
        (b" " * (2 << 20), "has 2097152 bytes"),
    ],
)
def test_invalid_config_is_named_with_its_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json.*{message}"):
        read_config(tmp_path / "config.json")


def test_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize("suffix", [".pt", ".ckpt"])
def test_flipped_bit_of_a_zip_is_found_by_its_checksum(tmp_path: Path, suffix: str) -> None:
    values = torch.arange(4096, dtype=torch.float32)
    path = tmp_path / f"weights{suffix}"
    torch.save({"encoder.norm.weight": values}, path)
    data = bytearray(path.read_bytes())
    data[data.index(values.numpy().tobytes()) + 4000] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="does not match its checksum"):
        read_tensors(path)
