"""The command and its page: from a dump to a folder of results, and the page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser
from tests.integration.browsing import COLOURS, TEXTS, opened
from tests.unit.evaluation.probe.probing import two_classes, write_labelled

from marlin_sdk.cli.evaluation.probe import command
from marlin_sdk.evaluation.probe import protocol

HOSTILE = '<script>document.title="owned"</script><img src="http://evil.example/x">|`'


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of two classes, one with a hostile name, and of an encoder that knows nothing."""
    folder = tmp_path_factory.mktemp("probe")
    labels, signal = two_classes(120, people=40)
    for own, values in zip(labels, signal, strict=True):
        own["emotion"] = HOSTILE if own["emotion"] == "happy" else "angry"
        own["valence"] = float(values[0])
    write_labelled(folder / "features", labels, signal=0.25 * signal)
    write_labelled(folder / "untrained", labels, seed=7, weights="untrained:1")
    return folder


@pytest.fixture(scope="module")
def page(dumps: Path) -> Path:
    compared = ("--against", dumps / "untrained", "--ratios", ".5,1", "--seeds", "2", "--draws", "200")
    done = run(dumps / "features", "--label", "emotion", "-o", dumps / "out", *compared)
    assert done.exit_code == 0, done.output
    assert "test: 24 videos of 8 groups" in done.stdout
    return dumps / "out" / "report.html"


def test_nothing_leaves_the_page_and_nothing_hostile_runs(browser: Browser, page: Path) -> None:
    with opened(browser, page) as shown:
        assert shown.title() == "Probe of emotion · marlin-sdk"
        assert shown.locator("th", has_text="<script>").count() == 2
        assert shown.locator("tr", has_text="a constant").locator("b").first.text_content() == "0.500"
        assert shown.locator("h3", has_text="ROC of").count() == 1
        assert shown.locator("article.video").count() > 0
    card = (page.parent / "README.md").read_text()
    assert "<script>" not in card


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    with opened(browser, page, width=width) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_read_in_light_and_in_dark(browser: Browser, page: Path, dark: bool) -> None:
    with opened(browser, page, dark=dark) as shown:
        faintest = shown.evaluate(f"() => {{ {COLOURS} {TEXTS} }}")[0]
        assert faintest[0] >= 4.5, faintest


def test_everything_that_is_promised_is_in_the_folder(page: Path) -> None:
    names = {path.name for path in page.parent.iterdir()}
    arms = ("against", "majority", "metadata", "shuffled")
    assert names >= {"predictions.parquet", *(f"predictions-{arm}.parquet" for arm in arms)}
    assert names >= {"results.json", "head.json", "head.safetensors", "README.md", "report.html", "cells"}
    results = json.loads((page.parent / "results.json").read_text())
    assert results["paired"]["rows"][0]["differences"] is not None


def test_numbers_have_a_page_too(dumps: Path) -> None:
    done = run(dumps / "features", "--label", "valence", "--folds", "3", "-o", dumps / "joy", "--draws", "100", "-q")
    assert (done.exit_code, done.output) == (0, "")
    assert "Predicted and true" in (dumps / "joy" / "report.html").read_text()


def test_the_published_protocol_says_what_is_unsound(dumps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_EPOCHS", 50)  # two thousand take half a minute; how they end is tested elsewhere
    labels, signal = two_classes(24, people=12)
    write_labelled(dumps / "few", labels, signal=signal)
    where = ("--folds", "2", "-o", dumps / "theirs", "--draws", "100")
    done = run(dumps / "few", "--label", "emotion", "--protocol", "marlin", *where)
    assert done.exit_code == 0, done.output
    assert "rare attributes" in done.stderr
    assert "both sides" in (dumps / "theirs" / "README.md").read_text()
    refused = run(dumps / "few", "--label", "emotion", "--protocol", "marlin", "--head", "knn", *where)
    assert refused.exit_code == 2
    assert "decides head and pooling" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--label", "mood"), 2, "no label column is named or matches 'mood'; the dump has emotion, valence"),
        (("--label", "emotion", "--ratios", "a"), 2, "expected numbers such as .01,.1,1"),
        (("--label", "emotion", "--folds", "99"), 2, "expected 2 to the number of groups, 40"),
        (("--label", "emotion", "--seed", "-1"), 2, "not in the range x>=0"),
        (("--label", "emotion", "--draws", "10"), 2, "10 draws are too few"),
        (("--label", "emotion", "--head", "ridge"), 2, "head 'ridge' cannot learn classes"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_remedy(
    dumps: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    done = run(dumps / "features", "-o", tmp_path / "out", *arguments)
    assert done.exit_code == status
    assert not list((tmp_path / "out").glob("cells/*"))  # nothing was computed in vain
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_folder_that_is_no_dump_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "--label", "x")
    assert done.exit_code == 1
    assert "is not a dump" in done.stderr
    assert not np.any([path.name == "probe" for path in tmp_path.iterdir()])


def test_ctrl_c_says_that_what_is_finished_is_kept(
    dumps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("marlin_sdk.evaluation.probe.outcome.evaluate", interrupt)
    done = run(dumps / "features", "--label", "emotion", "-o", tmp_path / "out")
    assert done.exit_code == 130
    assert "goes on from there" in done.stderr
    assert list((tmp_path / "out").glob("cells/*"))


def test_labels_cannot_steer_the_terminal(tmp_path: Path) -> None:
    labels, signal = two_classes(40, people=20)
    for own in labels:
        own["mood\x1b[31m"] = own["emotion"]
    write_labelled(tmp_path / "dump", labels, signal=signal)
    done = run(tmp_path / "dump", "--label", "mood*", "--folds", "2", "-o", tmp_path / "out", "--draws", "100")
    assert done.exit_code == 0, done.output
    assert "mood" in done.stdout
    assert "\x1b" not in done.output
