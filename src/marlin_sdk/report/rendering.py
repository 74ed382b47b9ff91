"""Fill a template of a page, and write it as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError, MissingExtraError
from marlin_sdk.report.summary import printable

__all__ = ["page_template", "write_page"]


def write_page(output: Path, page: str) -> None:
    """Write a page atomically.

    Raises:
        FeatureFileError: it cannot be written.
    """
    try:
        with atomic_path(output) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write {output}: {error.strerror or error}; choose another -o") from error


def page_template(name: str, *, script: str | None = None) -> Callable[..., str]:
    """A template of this folder, with the style of all pages and the time of its making.

    Args:
        name: file name of the template.
        script: file name of the only script that the page may run.
    Returns:
        Called with the values of the template, the page.
    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("marlin-sdk report", "report") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = _clock
    environment.filters["cosine"] = lambda value: f"{value:.2f}" if value < 0.99 else f"{value:.4f}"
    environment.filters["long"] = _long
    texts = {
        "style": Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        "script": Path(__file__).with_name(script).read_text(encoding="utf-8") if script else "",
    }
    digest = base64.b64encode(hashlib.sha256(texts["script"].encode()).digest()).decode()
    inlined = {**{key: Markup(text) for key, text in texts.items()}, "script_hash": Markup(digest)}
    made = time.strftime("%Y-%m-%d %H:%M")
    template = environment.get_template(name)

    def render(**values: Any) -> str:
        return template.render(version=__version__, made=made, **inlined, **values)

    return render


def _finalize(value: Any) -> Any:
    """Sanitise what the template writes: text of a dump may hold anything; our own markup stays as it is."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _clock(seconds: float) -> str:
    """A time in a video: 7.2 s, 3:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _long(seconds: float) -> str:
    """How long something took: 42 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
