"""A model as a folder: for `from_pretrained`, the Hub, marlin-pytorch, and the authors' own class."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.making import TINY, lay, noise, write_checkpoint
from torch import nn

from marlin_sdk import ConfigError, Marlin, WeightsError
from marlin_sdk.config import PRESETS
from marlin_sdk.weights.card import licence_of
from marlin_sdk.weights.checkpoints import to_published_keys
from marlin_sdk.weights.hub import MODEL_FILES
from marlin_sdk.weights.integrity import CHECKSUMS
from marlin_sdk.weights.loading import build_network
from marlin_sdk.weights.publish import weights_sha256

CLIPS = noise(32, 32, 32).reshape(2, 16, 32, 32, 3)
ALL = {*MODEL_FILES, CHECKSUMS, "marlin.yaml"}


@pytest.fixture
def model() -> Marlin:
    """With random weights that were changed."""
    model = Marlin.untrained(TINY, device="cpu", detector="lbp", decoder=True)
    for parameter in model.encoder.parameters():
        parameter.data.add_(0.01)
    return model


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def load(folder: Path, **options: Any) -> Marlin:
    return Marlin.from_pretrained(folder, device="cpu", detector="lbp", **options)


@pytest.mark.parametrize("decoder", [False, True])
def test_saved_model_comes_back_the_same(model: Marlin, tmp_path: Path, decoder: bool) -> None:
    own = model if decoder else Marlin.untrained(TINY, device="cpu", detector="lbp", seed=3)
    own.save_pretrained(tmp_path / "mine")
    assert names(tmp_path / "mine") == ALL | {"marlin.full.pt" if decoder else "marlin.encoder.pt"}
    back = load(tmp_path / "mine", decoder=decoder)
    assert torch.equal(back.extract_clip(CLIPS), own.extract_clip(CLIPS))
    if decoder:
        there, here = (one.reconstruct(CLIPS, masking="random").reconstructed for one in (back, own))
        assert np.array_equal(there, here)
        assert not any(parameter.requires_grad for parameter in back.encoder.parameters())


def test_changed_weights_have_the_identity_of_their_file(model: Marlin, tmp_path: Path) -> None:
    video = noise(40, 32, 32)
    before = model.extract(video, source_fps=25.0).meta
    model.save_pretrained(tmp_path / "mine")
    after = load(tmp_path / "mine").extract(video, source_fps=25.0).meta
    assert before["weights_sha256"] == after["weights_sha256"]
    assert before["model"] == "custom, changed in memory"
    assert after["model"] == str(tmp_path / "mine")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_precision_is_kept_and_stated(model: Marlin, tmp_path: Path, dtype: str) -> None:
    model.to(dtype).save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half/config.json").read_text())["torch_dtype"] == dtype
    assert {str(tensor.dtype) for tensor in load_file(tmp_path / "half/model.safetensors").values()} == {
        f"torch.{dtype}"
    }
    back = load(tmp_path / "half", dtype=dtype)
    assert torch.equal(back.extract_clip(CLIPS), model.extract_clip(CLIPS))
    assert back.identity["weights_sha256"] == model.identity["weights_sha256"]
    whole = load(tmp_path / "half")
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole.extract_clip(CLIPS), model.extract_clip(CLIPS), atol=0.1, rtol=0)


# Other readers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", [False, True])
def test_file_for_marlin_pytorch_is_a_flat_state_dict(model: Marlin, tmp_path: Path, decoder: bool) -> None:
    own = model if decoder else Marlin.untrained(TINY, device="cpu", detector="lbp")
    own.save_pretrained(tmp_path / "mine")
    (file,) = (tmp_path / "mine").glob("*.pt")
    state = torch.load(file, weights_only=True)
    assert "encoder.pos_embedding.emb" in state
    assert ("enc_dec_proj.weight" in state, "decoder.mask_token" in state) == (decoder, decoder)
    published = load_file(tmp_path / "mine/model.safetensors")
    assert state.keys() == {key.removeprefix("marlin.") for key in published}
    assert all(torch.equal(state[key.removeprefix("marlin.")], tensor) for key, tensor in published.items())
    assert torch.equal(load(file, config=TINY).extract_clip(CLIPS), own.extract_clip(CLIPS))


def test_file_for_marlin_pytorch_of_a_loaded_model_holds_no_more_than_its_weights(
    model: Marlin, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "first")
    load(tmp_path / "first", decoder=True).save_pretrained(tmp_path / "second")
    sizes = {name: (tmp_path / "second" / name).stat().st_size for name in ("model.safetensors", "marlin.full.pt")}
    assert sizes["marlin.full.pt"] < 1.5 * sizes["model.safetensors"]


def test_size_is_stated_in_the_words_of_marlin_pytorch(model: Marlin, tmp_path: Path) -> None:
    import yaml

    model.save_pretrained(tmp_path / "mine")
    size = yaml.safe_load((tmp_path / "mine/marlin.yaml").read_text())
    assert size["encoder"] == {"embed_dim": 32, "depth": 2, "num_heads": 2}
    assert size["decoder"] == {"embed_dim": 16, "depth": 1, "num_heads": 2}
    # what marlin-pytorch 0.3.4's register_model_from_yaml reads besides
    read = {"img_size", "patch_size", "clip_frames", "mlp_ratio", "qkv_bias", "qk_scale", "drop_rate"}
    read |= {"attn_drop_rate", "norm_layer", "init_values", "tubelet_size"}
    assert read <= size.keys()
    assert size["mlp_ratio"] == 4.0


@pytest.mark.shared
def test_folder_has_the_tensors_and_the_settings_of_a_published_one(shared: Path, tmp_path: Path) -> None:
    theirs = shared / "golden/tiny/hub"
    load(theirs).save_pretrained(tmp_path / "mine")
    ours = load_file(tmp_path / "mine/model.safetensors")
    expected = load_file(theirs / "model.safetensors")
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)
    config, published = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "mine", theirs))
    assert config.pop("auto_map") == {
        name: f"ControlNet/marlin_vit_base_ytf--{place}" for name, place in published.pop("auto_map").items()
    }
    del published["transformers_version"]
    for key in ("decoder_embed_dim", "decoder_depth", "decoder_num_heads"):
        del published[key]  # of a decoder that the folder does not hold
    assert config == published


@pytest.mark.shared
@pytest.mark.parametrize("name", ["marlin_vit_small_ytf"])
def test_keys_of_a_published_size_are_those_of_the_reference(shared: Path, tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        network = build_network(PRESETS[name], decoder=True)
    expected = json.loads((shared / "golden" / f"{name}.keys.json").read_text())
    found = to_published_keys(network.state_dict())
    assert {key: list(tensor.shape) for key, tensor in found.items()} == expected


# The card -------------------------------------------------------------------------------------------------------------


def published(folder: Path, name: str = "marlin_vit_small_ytf") -> Path:
    """Weights under a published name."""
    return write_checkpoint(folder / name, Marlin.untrained(TINY, device="cpu", detector="lbp"))


def test_weights_that_derive_from_published_ones_keep_their_licence(tmp_path: Path) -> None:
    model = load(published(tmp_path))
    model.encoder.norm.weight.data.mul_(2)
    model.save_pretrained(tmp_path / "tuned")
    card = (tmp_path / "tuned/README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-nc-4.0\n")
    assert "no commercial use, and name the authors" in card
    assert "marlin_vit_small_ytf (SHA-256 " in card
    assert "were changed since" in card
    with pytest.raises(ConfigError, match=r"licence is 'mit'.*marlin_vit_small_ytf.*CC BY-NC"):
        model.save_pretrained(tmp_path / "other", licence="mit")
    assert not (tmp_path / "other").exists()
    again = load(tmp_path / "tuned")
    again.save_pretrained(tmp_path / "again")  # by the card of the folder, whose name says nothing
    assert "license: cc-by-nc-4.0" in (tmp_path / "again/README.md").read_text()
    with pytest.raises(ConfigError, match="CC BY-NC"):
        again.save_pretrained(tmp_path / "other", licence="apache-2.0")


def test_own_weights_have_the_licence_that_is_chosen(tmp_path: Path) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp")
    model.save_pretrained(tmp_path / "mine", licence="mit", name="lab/mine")
    card = (tmp_path / "mine/README.md").read_text()
    for part in (
        "license: mit\n",
        "# lab/mine\n",
        'from_pretrained("lab/mine")',
        "random weights (seed 0)",
        "the same",
    ):
        assert part in card
    load(tmp_path / "mine").save_pretrained(tmp_path / "second")
    assert "license: mit\n" in (tmp_path / "second/README.md").read_text()
    load(tmp_path / "mine").save_pretrained(tmp_path / "third", licence="apache-2.0")
    assert "license: apache-2.0\n" in (tmp_path / "third/README.md").read_text()


@pytest.mark.parametrize("card", [b"", b"no front matter", b"---\nlicense: [x]\n---\n", b"\xff\xfe---\n", b"---\n" * 9])
def test_card_without_a_licence_gives_none(tmp_path: Path, card: bytes) -> None:
    lay(tmp_path / "README.md", card)
    assert licence_of(str(tmp_path), None) == "other"
    assert licence_of(str(tmp_path / "model.safetensors"), "mit") == "mit"
    assert licence_of("\0", None) == "other"


# The folder -----------------------------------------------------------------------------------------------------------


def test_folder_that_holds_something_is_left_alone(model: Marlin, tmp_path: Path) -> None:
    notes = lay(tmp_path / "work/notes.txt", b"mine")
    with pytest.raises(ConfigError, match=r"work is not empty.*overwrite=True"):
        model.save_pretrained(tmp_path / "work")
    assert names(tmp_path / "work") == {"notes.txt"}
    with pytest.raises(ConfigError, match=r"notes\.txt is a file"):
        model.save_pretrained(notes)
    model.save_pretrained(tmp_path / "work", overwrite=True)
    assert notes.read_bytes() == b"mine"
    assert names(tmp_path / "work") == ALL | {"marlin.full.pt", "notes.txt"}
    assert names(tmp_path) == {"work"} | {name for name in names(tmp_path) if name in ("home", "hub")}


def test_overwriting_leaves_nothing_of_the_model_before(model: Marlin, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "mine")
    other = Marlin.untrained(TINY, device="cpu", detector="lbp", seed=5)
    with pytest.raises(ConfigError, match="is not empty"):
        other.save_pretrained(tmp_path / "mine")
    other.save_pretrained(tmp_path / "mine", overwrite=True, marlin_pytorch=False)
    assert names(tmp_path / "mine") == {*MODEL_FILES, CHECKSUMS}
    assert torch.equal(load(tmp_path / "mine").extract_clip(CLIPS), other.extract_clip(CLIPS))


def test_empty_folder_and_link_are_filled(model: Marlin, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    model.save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert torch.equal(load(tmp_path / "disk").extract_clip(CLIPS), model.extract_clip(CLIPS))


def test_reader_gets_one_model_or_the_other_while_they_are_exchanged(tmp_path: Path) -> None:
    models = [Marlin.untrained(TINY, device="cpu", detector="lbp", seed=seed) for seed in (1, 2)]
    folder, stopped = tmp_path / "mine", threading.Event()
    seen: list[torch.Tensor] = []
    models[0].save_pretrained(folder)

    def read() -> None:
        while not stopped.is_set():
            with suppress(ConfigError, WeightsError):  # between two renames, or of a checksum that is newer
                seen.append(load(folder).extract_clip(CLIPS))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        models[turn % 2].save_pretrained(folder, overwrite=True)
        time.sleep(0.02)
    stopped.set()
    reader.join()
    expected = [model.extract_clip(CLIPS) for model in models]
    assert seen
    assert all(any(torch.equal(one, features) for features in expected) for one in seen)


@pytest.mark.parametrize(
    "failing",
    ["safetensors.torch.save_file", "torch.save", "marlin_sdk.weights.publish.write_checksums"],
)
def test_failed_save_leaves_the_model_before(
    model: Marlin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    model.save_pretrained(tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(ConfigError, match=r"mine cannot be written: .*No space left.*free some space"):
        model.save_pretrained(tmp_path / "mine", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    assert not list(tmp_path.glob(".*part*"))


def test_network_that_is_no_marlin_any_more_is_not_saved(model: Marlin, tmp_path: Path) -> None:
    block: Any = model.encoder.blocks[0]
    block.attn.proj = nn.Sequential(block.attn.proj)
    assert model.identity["weights_sha256"]
    with pytest.raises(
        WeightsError, match=r"(?s)model in memory does not fit.*missing encoder.blocks.0.attn.proj.weight"
    ):
        model.save_pretrained(tmp_path / "mine")
    shutil.rmtree(tmp_path / "mine", ignore_errors=True)
    other = Marlin.untrained(TINY, device="cpu", detector="lbp")
    other.encoder.norm.bias.data[3] = torch.nan
    with pytest.raises(WeightsError, match=r"norm\.bias holds NaN or infinity"):
        other.save_pretrained(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_tensors_that_share_memory_are_written_each(model: Marlin) -> None:
    encoder: Any = model.encoder
    encoder.blocks[1].norm1.weight = encoder.blocks[0].norm1.weight
    assert weights_sha256({f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()})
    assert model.identity["weights_sha256"]
