"""Resolve a published name, Hub repo, folder or file to the local files of a model.

Hub repos go through huggingface_hub, with its own cache, token, offline switch and progress bars.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError, DownloadError, WeightsError
from marlin_sdk.weights.downloads import OFFLINE_REASON, WITHOUT_NETWORK, Asset, fetch_asset, is_offline, log_licence

__all__ = [
    "MODEL_FILES",
    "OWNER",
    "REFERENCE_FILES",
    "RELEASE_URL",
    "WEIGHTS_LICENCE",
    "ModelFiles",
    "resolve_model",
]

RELEASE_URL = "https://github.com/ControlNet/MARLIN/releases/download/model_v1"
WEIGHTS_LICENCE = (
    "The published MARLIN weights are licensed CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/): "
    "no commercial use, and name the authors (MARLIN, CVPR 2023)."
)

MODEL_FILES = ("config.json", "model.safetensors", "README.md")
"""What `Marlin.from_pretrained`, the authors' model class and the Hub read."""

REFERENCE_FILES = ("marlin.encoder.pt", "marlin.full.pt", "marlin.yaml")
"""What marlin-pytorch reads: one of the first two, and for a model of another size than the published ones the last."""

OWNER = "ControlNet"
"""Of the published models on the Hub."""

_HUB_FILES = MODEL_FILES[:2]
_SUFFIXES = (".safetensors", ".pt", ".ckpt")
_log = logging.getLogger("marlin_sdk")


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, and its name.

    Attributes:
        weights: the checkpoint.
        config: the config.json beside it, if any.
        name: the published name, the repo id, or the path as given.
        preset: the published name if it is one: its config is known without a config.json.
        commit: the Hub commit (40 hex digits) of the files; None for local files and releases.
    """

    weights: Path
    config: Path | None
    name: str
    preset: str | None
    commit: str | None


def resolve_model(
    model: str | Path,
    *,
    decoder: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> ModelFiles:
    """Locate the files of a model, downloading those that are not in the cache.

    A published name always means the published weights; prefix it with "./", or pass a `Path`, to mean a folder of
    that name. Otherwise an existing file or folder takes precedence over "owner/name" on the Hub.

    Args:
        model: a published name, a Hub repo id, a folder or a weights file.
        decoder: for a published name, use the release file that holds the decoder too (the Hub repos do not).
        revision: branch, tag or commit of a Hub repo; None is its main branch.
        token: for private or gated repos; None uses the one stored by `hf auth login`.
        cache_dir: instead of the Hub cache (or, for a release file, of `marlin_home() / "assets"`).
        local_files_only: do not access the network; $HF_HUB_OFFLINE=1 has the same effect.
    Raises:
        ConfigError: neither a published name, nor a repo id, nor a path.
        WeightsError: a path that does not exist, or a folder that does not hold exactly one checkpoint.
        DownloadError: the files could not be downloaded; the message says what to do.
    """
    text = str(model)
    local = _existing(model)
    # A Path never refers to the Hub.
    name = text.removeprefix(f"{OWNER}/") if isinstance(model, str) else ""
    published = name if name in PRESETS else None
    if local and text != published:
        return _local_files(local, text)
    if local:
        _log.warning("%r means the published model; pass './%s' for the local file or folder of that name", text, text)
    if published and decoder:
        if revision is not None:
            raise ConfigError(f"revision={revision!r} is for Hub repos; {published} with its decoder is a release file")
        release = Asset(f"{published}.full.pt", f"{RELEASE_URL}/{published}.full.pt", licence=WEIGHTS_LICENCE)
        weights = fetch_asset(release, cache_dir=cache_dir, local_files_only=local_files_only)
        return ModelFiles(weights, config=None, name=published, preset=published, commit=None)
    if not published and (isinstance(model, Path) or _looks_like_path(text)):
        raise WeightsError(f"no such file or folder: {text}; expected a weights file, or a folder that holds one")
    if not published and not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        close = get_close_matches(text, PRESETS, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"unknown model {text!r}{meant}; expected a published name ({', '.join(PRESETS)}), a Hub repo "
            "'owner/name', or the path of a weights file or of a folder that holds one"
        )
    repo = f"{OWNER}/{published}" if published else text
    licence = WEIGHTS_LICENCE if published else None
    config, weights = _from_hub(
        repo, revision, token, cache_dir=cache_dir, local_files_only=local_files_only, licence=licence
    )
    # The Hub cache lays files out as snapshots/<commit>/<file>.
    return ModelFiles(weights, config, name=published or repo, preset=published, commit=weights.parent.name)


def _existing(model: str | Path) -> Path | None:
    try:
        path = Path(model).expanduser()
        return path if str(model).strip() and path.exists() else None
    except (OSError, RuntimeError):  # too long for a file name; "~nobody"
        return None


def _looks_like_path(text: str) -> bool:
    marked = text.endswith(_SUFFIXES) or text.startswith(("./", "../", "/", "~"))
    return "://" not in text and (marked or text.count("/") > 1 or "\\" in text)


def _local_files(path: Path, name: str) -> ModelFiles:
    weights = _weights_in(path) if path.is_dir() else path
    if not weights.is_file():
        raise WeightsError(f"{weights} is a pipe or device; expected a file")
    config = weights.with_name("config.json")
    has_config = config.is_file() and (path.is_dir() or path.suffix == ".safetensors")
    return ModelFiles(weights, config if has_config else None, name=name, preset=None, commit=None)


def _weights_in(folder: Path) -> Path:
    names = sorted(path.name for path in folder.iterdir())
    found = [name for name in names if name.endswith(_SUFFIXES) and (folder / name).is_file()]
    if "model.safetensors" in found:
        return folder / "model.safetensors"
    if len(found) != 1:
        raise WeightsError(
            f"folder {folder} holds {len(found)} checkpoints; expected model.safetensors, or exactly one file of "
            f"{', '.join(_SUFFIXES)}; found: {', '.join(names[:20]) or 'nothing'}{', ...' * (len(names) > 20)}. "
            "Put one there, or pass the path of the file itself"
        )
    return folder / found[0]


def _from_hub(
    repo: str,
    revision: str | None,
    token: str | bool | None,
    *,
    cache_dir: str | Path | None,
    local_files_only: bool,
    licence: str | None,
) -> list[Path]:
    """The two files of a Hub repo, both of one commit."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    offline = is_offline(local_files_only)
    paths: list[Path] = []
    try:
        cached = try_to_load_from_cache(repo, _HUB_FILES[-1], cache_dir=cache, revision=revision)
        if licence and not offline and not isinstance(cached, str):
            log_licence(licence)
        with _one_line_of_retries():
            for filename in _HUB_FILES:
                path = hf_hub_download(
                    repo,
                    filename,
                    # The branch may move between the two downloads: the second file is that of the first's commit.
                    revision=paths[0].parent.name if paths else revision,
                    token=token,
                    cache_dir=cache,
                    local_files_only=offline,
                    # huggingface_hub itself reads the variable only once, when it is imported.
                    endpoint=os.environ.get("HF_ENDPOINT") or None,
                )
                paths.append(Path(path))
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} cannot be a Hub repo: {error}") from error
    except Exception as error:  # of its HTTP client: requests, httpx or hf_xet, by version
        raise DownloadError(
            f"cannot get {_HUB_FILES[len(paths)]} of Hub repo {repo}, revision {revision or 'main'}: "
            f"{_hub_reason(error, offline)}. Cache folder: {cache}. "
            f"To provide the files by hand, put {' and '.join(_HUB_FILES)} in a folder and pass its path"
            + (f". {WITHOUT_NETWORK}" if isinstance(error, LocalEntryNotFoundError) else "")
        ) from error
    return paths


@contextmanager
def _one_line_of_retries() -> Iterator[None]:
    """Say once that the Hub does not answer, where huggingface_hub has two lines for each of its six attempts."""
    told: list[str] = []

    def is_other(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "thrown while requesting" not in message and not message.startswith("Retrying in"):
            return True
        if not told:
            told.append(message)
            _log.warning("the Hugging Face Hub does not answer (%s); trying again, for up to half a minute", message)
        return False

    logger = logging.getLogger("huggingface_hub.utils._http")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _hub_reason(error: Exception, offline: bool) -> str:
    from huggingface_hub import errors

    log_in = "log in (hf auth login, or huggingface-cli login) or pass token="
    # If the file is not cached either, huggingface_hub wraps the error of the server or of the connection.
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    description = " ".join(f"{type(cause).__name__}: {cause}".split())
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status in (401, 403) and not isinstance(error, errors.RepositoryNotFoundError):
        return f"{description}; {log_in}"
    not_cached = OFFLINE_REASON if offline else f"the request to the Hub failed ({description}); try again"
    # The more specific class first: "gated" is a subclass of "not found", "not cached" of "no such file".
    reasons = (
        (errors.GatedRepoError, f"the repo is gated; request access on its page, then {log_in}"),
        (errors.RepositoryNotFoundError, f"there is no such repo, or it is private; check the name, or {log_in}"),
        (errors.RevisionNotFoundError, "there is no such revision; check revision= (a branch, tag or commit)"),
        (errors.LocalEntryNotFoundError, not_cached),
        (errors.EntryNotFoundError, "the repo has no such file"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), description)
