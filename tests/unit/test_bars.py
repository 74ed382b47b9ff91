"""Progress in a notebook without ipywidgets: as text, and without a warning."""

from __future__ import annotations

import subprocess
import sys

NOTEBOOK = """
import sys, types
kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: kernel, version_info=(9,))
sys.modules["IPython.display"] = types.SimpleNamespace(display=None)
sys.modules["ipywidgets"] = None
from marlin_sdk.bars import bar_class
with bar_class()(total=3, desc="talk.mp4") as bar:
    for _ in range(3):
        bar.update()
print(bar_class().__module__)
"""


def test_notebook_without_widgets_gets_text_and_no_warning() -> None:
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "talk.mp4: 100%" in done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.strip() in ("tqdm.std", "tqdm.asyncio", "tqdm.auto")
