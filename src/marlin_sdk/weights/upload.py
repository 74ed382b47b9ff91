"""Upload the folder of a model to the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from marlin_sdk._version import __version__
from marlin_sdk.errors import ConfigError, DownloadError, WeightsError
from marlin_sdk.weights.downloads import is_offline
from marlin_sdk.weights.hub import MODEL_FILES, REFERENCE_FILES
from marlin_sdk.weights.integrity import CHECKSUMS

__all__ = ["push_to_hub"]

_LOG_IN = "log in (hf auth login, or huggingface-cli login) with a token that may write, or pass token="


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool = True,
    message: str | None = None,
) -> str:
    """Upload a model to the Hub: its own files, and nothing else that the folder may hold.

    Args:
        folder: written by `Marlin.save_pretrained`, or the folder of a run.
        repo_id: "owner/name"; created if it does not exist.
        token: a token that may write; None uses the one you are logged in with.
        private: whether a new repo is private.
        message: of the commit.
    Returns:
        The URL of the commit.
    Raises:
        WeightsError: files of the model are missing.
        ConfigError: not the name of a repo.
        DownloadError: there is no token, or the Hub cannot be reached, or rejects the upload.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError

    path = Path(folder)
    if missing := [name for name in MODEL_FILES if not (path / name).is_file()]:
        raise WeightsError(
            f"{path} is not a Hub-ready folder: {', '.join(missing)} missing; Marlin.save_pretrained, or a finished "
            "run, writes them"
        )
    failed = f"cannot upload {path} to Hub repo {repo_id}"
    if is_offline(local_files_only=False):
        raise DownloadError(f"{failed}: the Hub is switched off by HF_HUB_OFFLINE; unset it")
    if token is False or (token in (None, True) and get_token() is None):
        raise DownloadError(f"{failed}: there is no token; {_LOG_IN}")
    try:
        # huggingface_hub itself reads the variable only once, when it is imported.
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=path,
            allow_patterns=[*MODEL_FILES, *REFERENCE_FILES, CHECKSUMS],
            commit_message=message or f"Upload a model with marlin-sdk {__version__}",
        )
    except HFValidationError as error:
        raise ConfigError(f"{repo_id!r} cannot be a Hub repo: {error}") from error
    except Exception as error:  # of its HTTP client: requests, httpx or hf_xet, by version
        cause: BaseException = error
        while cause.__cause__ is not None:  # of a large file, it says only that there is one
            cause = cause.__cause__
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise DownloadError(f"{failed}: {reason}; {_advice(cause)}") from error
    return str(commit.commit_url)


def _advice(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return _LOG_IN
    if status is None:
        return "the Hub does not answer: check the network (marlin-sdk doctor), and behind a proxy set HTTPS_PROXY"
    return "try again"
