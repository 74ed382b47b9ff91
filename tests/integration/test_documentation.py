"""The README and the documentation do what they say: their code runs, their links lead somewhere, nothing is left out.

Blocks run page by page, in order, in a folder that holds the videos they name. Weights come from a loopback server that
plays the Hub, through the real loading code. The videos are small and already cropped, so that nobody needs the file of
the default detector; with the reference data the same pages run again, on a video that must be cropped, with YuNet.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import click
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.integration.loopback import COMMIT, Loopback, Repo
from tests.integration.warm import WarmServer
from tests.making import write_checkpoint, write_video
from tests.patience import HANG_S
from tests.unit.datasets.trees import plant_data_sets

import marlin_sdk
from marlin_sdk import Marlin, ModelConfig
from marlin_sdk.cli.doctor import main as doctor
from marlin_sdk.cli.evaluation.audit import command as audit
from marlin_sdk.cli.evaluation.data import command as data
from marlin_sdk.cli.evaluation.evaluate import main as evaluate
from marlin_sdk.cli.evaluation.frechet import command as frechet
from marlin_sdk.cli.evaluation.predict import command as predict
from marlin_sdk.cli.evaluation.probe import command as probe
from marlin_sdk.cli.extract import main as marlin_extract
from marlin_sdk.cli.lipsync.evaluate import command as lipsync_evaluate
from marlin_sdk.cli.lipsync.generate import command as lipsync_generate
from marlin_sdk.cli.lipsync.train import command as lipsync_train
from marlin_sdk.cli.reconstruct import command as reconstruct
from marlin_sdk.cli.report import main as report
from marlin_sdk.cli.sync.score import command as sync_score
from marlin_sdk.cli.sync.train import command as sync_train
from marlin_sdk.cli.training.finetune import command as finetune
from marlin_sdk.cli.training.prepare import command as prepare
from marlin_sdk.cli.training.pretrain import command as pretrain
from marlin_sdk.weights.downloads import YUNET

DOCS = ROOT / "docs"
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md"))]
RUNNABLE = ("python", "sh", "console")
SHOWN = ("text", "json")
FENCE = re.compile(
    r"^(?P<above>[^\n]*)\n(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
NEEDS_YUNET = "<!-- needs: yunet -->"
ALONE = re.compile(r"<!-- alone: (.+) -->")

# Every block that is shown and not run, by page and first line; the page itself gives the reason, above the block.
NOT_RUN_BLOCKS = [
    ("README.md", "pip install marlin-sdk"),
    ("README.md", "make demo   # makes .venv, installs, embeds examples/astronaut.mp4, shows what came out"),
    (
        "README.md",
        "marlin-sdk data ravdess RAVDESS/ -o clips.csv                 # sixteen public data sets, or your own folders",
    ),
    ("README.md", "marlin-sdk prepare videos/ -o data/"),
    (
        "docs/explanation/fine-tuning.md",
        "python -m benchmarks.finetune --shared ../shared --pretrained runs/learning/main -o runs/finetune",
    ),
    (
        "docs/explanation/lips.md",
        "marlin-sdk sync train s1/ -o runs/sync --model encoder/ --table splits.csv --max-steps 600",
    ),
    ("docs/explanation/real-clips.md", "marlin-sdk data grid GRID/ -o words.csv --task words --group sentence"),
    ("docs/explanation/real-clips.md", "marlin-sdk data mead MEAD/ -o mead.csv"),
    ("docs/explanation/real-clips.md", "marlin-sdk data faceforensics FFPP/ -o ffpp.csv"),
    ("docs/how-to/audit.md", "marlin-sdk probe features/ --label emotion --folds 5 -o probe/"),
    (
        "docs/how-to/cluster.md",
        "VIDEOS=/data/celebs DUMP=/data/features sbatch --array=1-16 examples/slurm.sh --model marlin_vit_base_ytf",
    ),
    (
        "docs/how-to/cluster.md",
        "marlin-extract --table clips.csv -o features/ --format parquet --engine ray --ray-address 10.0.0.1:6379 \\",
    ),
    ("docs/how-to/detectors.md", "pip install 'marlin-sdk[retinaface]'   # torchvision"),
    ("docs/how-to/doctor.md", "marlin-sdk doctor --offline && marlin-extract videos/ -o features/ --device cuda"),
    ("docs/how-to/finetune.md", "pip install 'marlin-sdk[train,probe]'"),
    ("docs/how-to/finetune.md", "marlin-sdk finetune --table clips.csv --label emotion -o runs/emotion"),
    ("docs/how-to/finetune.md", "printf 'mixup: 0.2\\nlayer_decay: 0.65\\ntrain_windows: 4\\n' > settings.yaml"),
    ("docs/how-to/frechet.md", "marlin-sdk frechet real/ fake/"),
    ("docs/how-to/frechet.md", "marlin-sdk frechet real.mp4 fake.mp4 --inception pt_inception-2015-12-05-6726825d.pth"),
    ("docs/how-to/frechet.md", "from marlin_sdk.inception.features import inception_features"),
    ("docs/how-to/gpu.md", "marlin-extract talk.mp4 -o features/ --device cuda --dtype bfloat16 --batch-size 32"),
    ("docs/how-to/gpu.md", 'model.to("cuda:0", dtype="bfloat16")'),
    ("docs/how-to/lipsync.md", "pip install 'marlin-sdk[train]'"),
    ("docs/how-to/lipsync.md", "marlin-sdk sync train videos/ -o runs/sync"),
    (
        "docs/how-to/lipsync.md",
        "marlin-sdk lipsync generate --face talk.mp4 --audio speech.wav --model runs/lips -o dubbed.mp4",
    ),
    ("docs/how-to/lipsync.md", "from marlin_sdk.face.detectors import load_detector"),
    (
        "docs/how-to/lipsync.md",
        "marlin-sdk lipsync evaluate held-out/ --model runs/lips --sync runs/sync -o report.json",
    ),
    ("docs/how-to/live.md", 'for row in model.stream("rtsp://camera.example/stream1"):'),
    ("docs/how-to/offline.md", "marlin-sdk download"),
    ("docs/how-to/offline.md", "marlin-sdk download --model marlin_vit_base_ytf -o weights/"),
    ("docs/how-to/own-loop.md", "marlin-sdk prepare videos/ -o faces/"),
    ("docs/how-to/own-loop.md", "from marlin_pytorch import Marlin"),
    ("docs/how-to/own-loop.md", "from transformers import AutoModel"),
    ("docs/how-to/own-loop.md", 'print(model.push_to_hub("lab/tuned"))  # after `hf auth login`, or with token='),
    ("docs/how-to/prepare.md", "marlin-sdk prepare videos/ -o data/"),
    ("docs/how-to/pretrain.md", "pip install 'marlin-sdk[train]'   # lightning, tensorboard, pyyaml, scikit-learn"),
    ("docs/how-to/pretrain.md", "marlin-sdk prepare videos/ -o data/"),
    ("docs/how-to/pretrain.md", "marlin-sdk pretrain --data data/ -o runs/mine --probe words.csv --probe-every 1000"),
    ("docs/how-to/pretrain.md", "marlin-sdk pretrain --data data/ --config small.yaml --max-steps 20000 -o runs/small"),
    (
        "docs/how-to/pretrain.md",
        "marlin-sdk pretrain --data data/ --model marlin_vit_base --init MCG-NJU/videomae-base -o runs/mine",
    ),
    ("docs/how-to/pretrain.md", "marlin-sdk pretrain --data data/ --resume -o runs/mine"),
    (
        "docs/how-to/pretrain.md",
        "marlin-sdk pretrain --data data/ --resume -o runs/mine --licence mit --push-to-hub lab/mine",
    ),
    ("docs/how-to/pretrain.md", "from marlin_sdk.weights.upload import push_to_hub"),
    ("docs/how-to/probe.md", "pip install 'marlin-sdk[probe]'"),
    ("docs/how-to/read-features.md", "pip install 'marlin-sdk[pandas]'"),
    ("docs/how-to/reconstruct.md", "marlin-sdk reconstruct talk.mp4 -o out.mp4 --model marlin_vit_small_ytf"),
    ("docs/how-to/reconstruct.md", "from marlin_sdk import Marlin"),
    ("docs/how-to/several-faces.md", 'model = Marlin.from_pretrained("marlin_vit_small_ytf")'),
    ("docs/how-to/sync.md", "pip install 'marlin-sdk[train,report]'   # report: for pictures"),
    ("docs/how-to/sync.md", "marlin-sdk sync train videos/ -o runs/sync"),
    ("docs/how-to/sync.md", "marlin-sdk sync score talk.mp4 --model runs/sync"),
    ("docs/how-to/sync.md", "from marlin_sdk.sync.scorer import SyncScorer"),
    ("docs/how-to/sync.md", "marlin-sdk sync score talk.mp4 --syncnet syncnet_v2.model"),
    ("docs/reference/published.md", "marlin-sdk data cmu-mosei MOSEI/ -o mosei.csv"),
    ("docs/reference/published.md", "marlin-sdk data faceforensics FFPP/ -o ffpp.csv --compression c40"),
    ("docs/reference/published.md", "marlin-sdk data celebv-hq CELEBVHQ/ -o celebv.csv"),
    ("docs/tutorial/index.md", "python3 -m venv .venv"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    code: str
    above: str

    @property
    def is_run(self) -> bool:
        return self.language in RUNNABLE and not NOT_RUN.fullmatch(self.above)


def blocks_of(page: str) -> list[Block]:
    text = "\n" + (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("code"))
        found.append(Block(page, line, match["language"], code, match["above"].strip()))
    return found


# The sandbox ----------------------------------------------------------------------------------------------------------

# As wide as the published models, so that shapes in the text are true, but shallow, and with coarse tokens.
SMALL = ModelConfig(encoder_embed_dim=384, encoder_depth=2, encoder_num_heads=6, patch_size=32)
BASE = ModelConfig(encoder_embed_dim=768, encoder_depth=2, encoder_num_heads=12, patch_size=32)
MINE = ModelConfig(encoder_embed_dim=384, encoder_depth=1, encoder_num_heads=6)  # its size is told from its shapes
CROP = (slice(20, 244), slice(130, 354))  # rows and columns of the example video that frame the face all along


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of random weights, laid out as the published ones."""
    folder = tmp_path_factory.mktemp("weights")
    for name, config in {"marlin_vit_small_ytf": SMALL, "marlin_vit_base_ytf": BASE, "mine": MINE}.items():
        write_checkpoint(folder / name, Marlin.untrained(config, device="cpu"))
    return folder


@pytest.fixture(scope="module")
def hub(weights: Path) -> Iterator[Loopback]:
    """Plays the Hugging Face Hub: those folders under the names of the published models."""
    with Loopback() as loopback:
        for repo in weights.glob("marlin_*"):
            files = {file.name: file.read_bytes() for file in repo.iterdir()}
            loopback.repos[f"ControlNet/{repo.name}"] = Repo(commits={COMMIT: files}, branches={"main": COMMIT})
        yield loopback


@pytest.fixture(scope="module")
def hub_cache(tmp_path_factory: pytest.TempPathFactory, hub: Loopback) -> Path:
    """One cache for all pages, as one user has, filled: a download prints its licence, whichever page comes first."""
    folder = tmp_path_factory.mktemp("hub")
    models = [f"--model={repo.removeprefix('ControlNet/')}" for repo in hub.repos]
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(folder), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [str(Path(sys.executable).parent / "marlin-sdk"), "download", "--detector", "lbp", *models]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def settings(hub: Loopback, hub_cache: Path) -> dict[str, str]:
    """Of the environment in which all pages run: no network but the loopback, warnings are errors."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(hub_cache / "matplotlib"),
        "OMP_NUM_THREADS": "2",
        "COLUMNS": "120",
        "PYTHONWARNINGS": "error",
        # Whatever would leave the machine meets a closed port.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def commands(warm_server: WarmServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the PATH: the pages call commands a hundred times, which need not import everything each time.

    That the installed ones start is tested by the download above, and in test_command.py.
    """
    return warm_server.write_stand_ins(tmp_path_factory.mktemp("commands") / "bin")


def frames_of(video: Path) -> NDArray[np.uint8]:
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_spoken(path: Path, frames: NDArray[np.uint8]) -> None:
    """Encode frames of 25 fps with sound: silence in the first half, a tone in the second."""
    rate = 48_000
    at = np.arange(len(frames) * rate // 25)
    tone = np.where(at < len(at) // 2, 0, 0.5 * np.sin(2 * np.pi * 440 * at / rate)).astype(np.float32)
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=rate, layout="mono")
        picture.height, picture.width = frames[0].shape[:2]
        picture.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(picture.encode())
        samples = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        samples.sample_rate = rate
        container.mux(sound.encode(samples))
        container.mux(sound.encode())


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """The files that the pages name; `talk.mp4` is cropped already."""
    folder = tmp_path_factory.mktemp("videos")
    example = ROOT / "examples" / "astronaut.mp4"
    frames = frames_of(example)
    face = frames[:, CROP[0], CROP[1]]
    write_video(folder / "talk.mp4", face)
    write_spoken(folder / "spoken.mp4", face)
    shutil.copy(example, folder / "interview.mp4")
    write_video(folder / "meeting.mp4", np.concatenate([frames[:40], frames[:40, :, ::-1]], axis=2))
    for name in ("ann/monday", "ann/tuesday", "bob"):
        (folder / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / "videos" / f"{name}.mp4", face[:32])
    (folder / "videos" / "broken.mp4").write_bytes(b"no video at all")
    plant_data_sets(folder / "data")
    (folder / "frames").mkdir()
    for index, frame in enumerate(face[:40]):
        cv2.imwrite(str(folder / "frames" / f"{index:04d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    shutil.copytree(weights / "marlin_vit_base_ytf", folder / "weights" / "marlin_vit_base_ytf")
    tensors = load_file(weights / "mine" / "model.safetensors")
    torch.save({key.removeprefix("marlin."): tensor for key, tensor in tensors.items()}, folder / "mine.encoder.pt")
    return folder


@pytest.fixture
def sandbox(
    tmp_path: Path,
    videos: Path,
    settings: dict[str, str],
    commands: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder of a user's own with those files, and the caches of a first day."""
    folder = tmp_path / "user"
    shutil.copytree(videos, folder)
    (folder / "examples").symlink_to(ROOT / "examples")
    own = {
        "HOME": str(tmp_path),
        "MARLIN_HOME": str(tmp_path / "home"),
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    for name, value in {**settings, **own}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    # What huggingface_hub read from the environment when some other test imported it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.chdir(folder)
    return folder


# Running --------------------------------------------------------------------------------------------------------------


def run_page(page: str, *, with_yunet: bool) -> int:
    """Run the blocks of a page; how many."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for block in blocks_of(page):
        if not block.is_run or (block.above == NEEDS_YUNET and not with_yunet):
            continue
        {"python": run_python, "sh": run_shell, "console": run_console}[block.language](block, namespace)
        count += 1
    return count


def run_python(block: Block, namespace: dict[str, object]) -> None:
    """Run it; where its prints say in a comment what they print, they must."""
    if ALONE.fullmatch(block.above):
        run_alone(block)
        return
    source = "\n" * (block.line - 1) + block.code
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, str(ROOT / block.page), "exec"), namespace)
    check_prints(block, out.getvalue())


def run_alone(block: Block) -> None:
    """Run it as a file of its own, as it stands. Ray warns of itself."""
    Path("block.py").write_text(block.code)
    done = bash("PYTHONWARNINGS=default python block.py")
    assert done.returncode == 0, f"{block.page}:{block.line}\n{done.stdout}{done.stderr}"
    check_prints(block, done.stdout)


def check_prints(block: Block, got: str) -> None:
    said = re.findall(r"^ *print\(.*\)  # (.+)$", block.code, re.M)
    if said:
        check_output(block, "\n".join(said), got)


def run_shell(block: Block, namespace: dict[str, object]) -> None:
    done = bash(block.code)
    assert done.returncode == 0, f"{block.page}:{block.line}\n{done.stdout}{done.stderr}"


def run_console(block: Block, namespace: dict[str, object]) -> None:
    """Each `$ command` must print the lines below it; `...` stands for anything."""
    for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block.code, re.M):
        done = bash(f"{command} 2>&1")
        check_output(block, expected, done.stdout)


def bash(script: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)


def check_output(block: Block, expected: str, got: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(expected.strip() + "\n", got.strip() + "\n", flags)
    assert same, f"{block.page}:{block.line} says\n{expected}\nbut it prints\n{got}"


RUNNING_PAGES = [page for page in PAGES if any(block.is_run for block in blocks_of(page))]


@pytest.mark.parametrize("page", RUNNING_PAGES)
def test_every_block_of_a_page_runs(page: str, sandbox: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.is_run and block.above != NEEDS_YUNET]
    assert run_page(page, with_yunet=False) == len(blocks)


def test_code_that_reads_features_is_typed(tmp_path: Path) -> None:
    pages = ("docs/how-to/read-features.md", "docs/how-to/pooling.md", "docs/how-to/cluster.md")
    for page in pages:
        code = "\n".join(block.code for block in blocks_of(page) if block.language == "python")
        assert "load_dump(" in code
        (tmp_path / Path(page).with_suffix(".py").name.replace("-", "_")).write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *map(str, tmp_path.glob("*.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.shared
@pytest.mark.parametrize(
    "page", [page for page in RUNNING_PAGES if any(block.above == NEEDS_YUNET for block in blocks_of(page))]
)
def test_every_block_of_a_page_runs_with_the_default_detector(page: str, sandbox: Path, shared: Path) -> None:
    yunet = Path(os.environ["MARLIN_HOME"]) / "assets" / YUNET.filename
    yunet.parent.mkdir(parents=True)
    shutil.copy(shared / "weights" / YUNET.filename, yunet)
    shutil.copy(yunet, sandbox / YUNET.filename)
    shutil.copy(sandbox / "interview.mp4", sandbox / "talk.mp4")
    assert run_page(page, with_yunet=True) == sum(block.is_run for block in blocks_of(page))


def test_blocks_that_are_not_run_are_these() -> None:
    skipped = [
        (page, block.code.splitlines()[0])
        for page in PAGES
        for block in blocks_of(page)
        if block.language in RUNNABLE and not block.is_run
    ]
    assert skipped == NOT_RUN_BLOCKS


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_is_a_block_of_a_known_language(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(re.findall(r"^ *```", text, re.M)) == 2 * len(blocks)
    assert {block.language for block in blocks} <= {*RUNNABLE, *SHOWN}


# Completeness ---------------------------------------------------------------------------------------------------------


def test_reference_names_everything_public() -> None:
    named = re.findall(r"^::: marlin_sdk\.(\w+)$", (DOCS / "reference" / "index.md").read_text(encoding="utf-8"), re.M)
    errors = set(marlin_sdk.errors.__all__)
    assert sorted({*named, *errors} - {"errors"}) == sorted(set(marlin_sdk.__all__) - {"__version__"})
    assert "errors" in named
    assert len(named) == len(set(named))


def test_reference_of_the_command_has_every_option() -> None:
    from docs.hooks import on_page_markdown

    page = on_page_markdown((DOCS / "reference" / "cli.md").read_text(encoding="utf-8"))
    options = [
        parameter
        for command in (
            *(marlin_extract, data, probe, evaluate, predict, audit, frechet),
            *(report, doctor, prepare, pretrain, finetune, reconstruct, sync_train, sync_score),
            *(lipsync_train, lipsync_generate, lipsync_evaluate),
        )
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    assert len(options) > 40
    for option in options:
        assert f"| `{option.opts[0]}" in page, option.name
        assert option.help is not None
        assert option.help.split("\n")[0].rstrip(".") in page


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [
        page for page in PAGES if page.startswith("docs/") and f": {page[5:]}" not in nav and f"- {page[5:]}" not in nav
    ]
    assert missing == []


def test_links_of_the_readme_lead_to_files_and_headings() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)
    local = [one or other for one, other in links if not (one or other).startswith("https://")]
    assert len(local) > 10
    broken = [
        link
        for link in local
        if not (link[1:] in headings if link.startswith("#") else (ROOT / link.split("#")[0]).exists())
    ]
    assert broken == []


@pytest.mark.parametrize("page", ["README.md", "docs/explanation/model-card.md"])
def test_pages_that_must_say_so_name_the_licence_of_the_weights(page: str) -> None:
    assert "CC BY-NC 4.0" in (ROOT / page).read_text(encoding="utf-8")
