"""Weights that were trained in a loop of the user's own: saved, shared through the Hub, and used from there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.integration.loopback import Loopback
from tests.integration.warm import WarmCommand
from tests.making import TINY, noise, write_video

from marlin_sdk import ConfigError, DownloadError, FeatureDump, Marlin, WeightsError
from marlin_sdk.weights.hub import MODEL_FILES
from marlin_sdk.weights.integrity import CHECKSUMS
from marlin_sdk.weights.upload import push_to_hub

VIDEO = noise(40, 32, 32)

PUSHES = pytest.mark.filterwarnings(
    "ignore:Use 'content=:DeprecationWarning"
)  # huggingface_hub's own way to send files


@pytest.fixture
def trained() -> Marlin:
    model = Marlin.untrained(TINY, device="cpu", detector="lbp", decoder=True)
    train(model)
    return model


def train(model: Marlin) -> None:
    optimiser = torch.optim.SGD(model.encoder.requires_grad_().parameters(), lr=0.1)
    model.encoder(torch.rand(2, *TINY.clip_shape)).square().sum().backward()
    optimiser.step()


@PUSHES
def test_pushed_model_comes_back_from_the_hub(trained: Marlin, server: Loopback, tmp_path: Path) -> None:
    server.may_write = "hf_test"
    address = trained.push_to_hub("lab/mine", token="hf_test", licence="mit")
    repo = server.repos["lab/mine"]
    commit = repo.branches["main"]
    assert address == f"{server.url}/lab/mine/commit/{commit}"
    assert repo.private
    assert repo.commits[commit].keys() == {*MODEL_FILES, CHECKSUMS}
    card = repo.commits[commit]["README.md"].decode()
    assert "license: mit" in card
    assert 'from_pretrained("lab/mine")' in card
    back = Marlin.from_pretrained("lab/mine", device="cpu", detector="lbp", cache_dir=tmp_path / "cache", decoder=True)
    result = back.extract(VIDEO, source_fps=25.0)
    assert result.meta["commit"] == commit
    assert torch.equal(back.extract_video(VIDEO), trained.extract_video(VIDEO))
    train(trained)
    trained.push_to_hub("lab/mine", token="hf_test", licence="mit")  # a second commit, to the repo that is there
    assert len(repo.commits) == 3
    assert repo.branches["main"] != commit


@PUSHES
def test_push_takes_only_the_files_of_a_model(trained: Marlin, server: Loopback, tmp_path: Path) -> None:
    server.may_write = "hf_test"
    trained.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine/secrets.txt").write_text("mine")
    (tmp_path / "mine/checkpoints").mkdir()
    (tmp_path / "mine/checkpoints/config.json").write_text("{}")
    push_to_hub(tmp_path / "mine", "lab/mine", token="hf_test", private=False)
    repo = server.repos["lab/mine"]
    own = {*MODEL_FILES, CHECKSUMS, "marlin.full.pt", "marlin.yaml"}
    assert repo.commits[repo.branches["main"]] == {name: (tmp_path / "mine" / name).read_bytes() for name in own}
    assert not repo.private


@pytest.mark.usefixtures("_no_waiting")
def test_push_says_why_it_cannot(
    trained: Marlin, server: Loopback, refused_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DownloadError, match=r"Hub repo lab/mine: there is no token; log in .* or pass token="):
        trained.push_to_hub("lab/mine")
    with pytest.raises(DownloadError, match=r"lab/mine: .*403.*; log in .* that may write, or pass token=") as caught:
        trained.push_to_hub("lab/mine", token="hf_reader")
    assert "hf_reader" not in str(caught.value)
    assert server.repos == {}
    with pytest.raises(ConfigError, match="'lab/mine/x' cannot be a Hub repo"):
        trained.push_to_hub("lab/mine/x", token="hf_test")
    monkeypatch.setenv("HF_ENDPOINT", refused_url)
    with pytest.raises(DownloadError, match=r"lab/mine: .*the Hub does not answer: check the network"):
        trained.push_to_hub("lab/mine", token="hf_test")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="switched off by HF_HUB_OFFLINE"):
        trained.push_to_hub("lab/mine", token="hf_test")


@PUSHES
@pytest.mark.usefixtures("_no_waiting")
def test_push_that_is_refused_half_way_says_why_and_commits_nothing(trained: Marlin, server: Loopback) -> None:
    server.may_write, server.statuses = "hf_test", [507] * 20
    with pytest.raises(DownloadError, match=r"lab/mine: .*507.*; try again"):
        trained.push_to_hub("lab/mine", token="hf_test")
    assert len(server.repos["lab/mine"].commits) == 1


def test_folder_that_is_no_model_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json, model\.safetensors, README\.md missing"):
        push_to_hub(tmp_path, "lab/faces", token="hf_test")


def test_dump_does_not_resume_with_weights_that_were_trained_since(
    trained: Marlin, warm: WarmCommand, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "talk.mp4", VIDEO)
    trained.save_pretrained(tmp_path / "mine")
    command = (video, "-o", "dump", "--model", tmp_path / "mine", "--device", "cpu", "--detector", "lbp")
    assert warm.run(*command)[0] == 0
    (id,) = dump = FeatureDump(Path("dump"))
    assert dump[id].meta["weights_sha256"] == trained.extract(VIDEO, source_fps=25.0).meta["weights_sha256"]
    train(trained)
    trained.save_pretrained(tmp_path / "mine", overwrite=True)
    status, said = warm.run(*command)
    assert status == 2
    assert "holds a dump made with other settings" in said
    assert "weights.weights_sha256" in said
