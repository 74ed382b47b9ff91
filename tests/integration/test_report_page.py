"""The report in a real browser: it asks for nothing, fits a phone, can be read in the dark and used with keys alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from playwright.sync_api import Browser
from tests.integration.browsing import COLOURS, TEXTS, opened
from tests.unit.report.dumps import features_of, write_dump

from marlin_sdk import Marlin
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.features import SkippedWindow

HOSTILE = '<script>document.title="owned"</script><img src="http://evil.example/x" onerror="document.title=\'owned\'">'
LABELS, OTHER = {"split": "train", "mood": "calm"}, {"split": "val"}
EVIL = {HOSTILE: HOSTILE, "split": HOSTILE}
LONG = "a_name_without_any_place_to_break_" * 6


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory, tiny: Marlin, astronaut: Path) -> Path:
    """Videos of every fate: a real one, several faces, holes, failures, hostile names, a source that is gone."""
    folder = tmp_path_factory.mktemp("report") / "celebs"
    real = tiny.extract(astronaut)
    starts = [0.0, 1.28, 2.56]
    videos = [
        (_entry("real/astronaut", source=str(astronaut), rows=len(real), duration_s=4.0), real),
        (
            _entry(
                "two people", source=str(astronaut), rows=6, duration_s=4.0, labels={"split": "train", "mood": "calm"}
            ),
            features_of(starts_s=starts * 2, length_s=1.24, dim=32, tracks=[0] * 3 + [1] * 3, box=(150, 30, 310, 190)),
        ),
        (
            _entry(
                "partial",
                "partial",
                rows=3,
                skipped_windows=1,
                duration_s=6.0,
                message="a hole",
                labels={"split": "val"},
            ),
            features_of(starts_s=starts, length_s=1.24, dim=32, skipped=[SkippedWindow(4.0, 6.0, "no face")]),
        ),
        (_entry(f"{LONG}/{LONG}", rows=3), features_of(starts_s=starts, length_s=1.24, dim=32)),
        (
            _entry(
                HOSTILE.replace("/", "|"),
                file="hostile.npz",
                source=HOSTILE,
                rows=3,
                labels={HOSTILE: HOSTILE, "split": HOSTILE},
            ),
            features_of(starts_s=starts, length_s=1.24, dim=32, warnings=[HOSTILE]),
        ),
        (_entry("empty room", status="no_face", file=None, skipped_windows=4, message="no window shows a face"), None),
        (_entry("broken", status="failed", file=None, error="VideoDecodeError", message=LONG + HOSTILE), None),
    ]
    return write_dump(folder, videos)


def _entry(id: str, status: str = "ok", **values: Any) -> ManifestEntry:
    known = {
        "status": status,
        "source": "gone.mp4",
        "file": f"{len(id)}.npz",
        "seconds": 2.0,
        "finished_at": 1e9 + len(id),
    }
    return ManifestEntry(id=id, **{**known, **values})


@pytest.fixture(scope="module")
def report(dump: Path) -> Path:
    """The page, as the command makes it."""
    output = dump.parent / "report.html"
    command = [
        sys.executable,
        "-c",
        "from marlin_sdk.cli.main import main; main()",
        "report",
        str(dump),
        "-o",
        str(output),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "7 videos in detail" in done.stderr
    return output


def test_nothing_leaves_the_page_and_nothing_hostile_runs(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        page.mouse.wheel(0, 20_000)
        page.wait_for_timeout(200)
        assert page.title() == "celebs · marlin-sdk report"
        assert page.locator("article h3", has_text="<script>").count() == 1
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    with opened(browser, report, width=width) as page:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        beyond = page.evaluate(
            """() => [...document.querySelectorAll('body *')].filter((element) => {
                const box = element.getBoundingClientRect();
                return !element.closest('.visually-hidden') && box.width && box.right > innerWidth + 0.5;
            }).map((element) => element.outerHTML.slice(0, 80))"""
        )
        assert beyond == []


HUES = """
    const group = document.querySelector('#plot g');
    return [...Array(360).keys()].map((degrees) => {
        group.style.setProperty('--h', degrees);
        return contrast(getComputedStyle(group.querySelector('circle')).fill, group);
    });
"""


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_read_in_light_and_in_dark(browser: Browser, report: Path, dark: bool) -> None:
    with opened(browser, report, dark=dark) as page:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) < 150) is dark
        ratios = page.evaluate(f"() => {{ {COLOURS} {TEXTS} }}")
        assert len(ratios) > 80
        assert ratios[0][0] >= 4.5, ratios[:5]


@pytest.mark.parametrize("dark", [False, True])
def test_points_stand_out_from_the_ground_whatever_their_colour(browser: Browser, report: Path, dark: bool) -> None:
    with opened(browser, report, dark=dark) as page:
        ratios = page.evaluate(f"() => {{ {COLOURS} {HUES} }}")
        assert len(ratios) == 360
        assert min(ratios) >= 3  # WCAG 2.2, 1.4.11


def test_tab_reaches_everything_in_the_order_of_the_page(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        expected = page.evaluate(
            """() => {
                const all = [...document.querySelectorAll('a[href], summary, input, select, button, [tabindex="0"]')];
                all.forEach((element, index) => { element.dataset.order = index; });
                return all.length;
            }"""
        )
        reached = []
        for _ in range(expected):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("Number(document.activeElement.dataset.order)"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert expected > 15
        assert reached == list(range(expected))


def test_the_first_tab_offers_to_skip_to_the_report(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        page.keyboard.press("Tab")
        link = page.locator(".skip")
        assert link.evaluate("(element) => element === document.activeElement")
        page.wait_for_timeout(100)
        box = link.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("dark", [False, True])
def test_pointing_at_a_window_tells_which_it_is(browser: Browser, report: Path, dark: bool) -> None:
    with opened(browser, report, dark=dark) as page:
        plot = page.locator("#plot")
        plot.scroll_into_view_if_needed()
        assert page.locator("#tip").is_hidden()
        page.locator("#plot g[data-v='1'] circle").first.hover()
        tip = page.locator("#tip")
        assert "s, face" in tip.inner_text()
        frame, text = plot.bounding_box(), tip.bounding_box()
        assert frame is not None
        assert text is not None
        assert frame["x"] <= text["x"]
        assert text["x"] + text["width"] <= frame["x"] + frame["width"]
        page.mouse.move(5, 5)
        assert tip.is_hidden()


def test_arrow_keys_step_through_windows_and_videos_and_say_where_they_are(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        names = page.locator("article h3").all_text_contents()
        points = json.loads(page.locator("#data").inner_text())["points"]
        spoken = page.locator("#spoken")
        page.locator("nav a").last.focus()
        while page.evaluate("document.activeElement.id") != "plot":
            page.keyboard.press("Tab")
        assert spoken.inner_text().startswith(f"{names[0]}, {points[0][1]:.1f} \N{EN DASH} {points[0][2]:.1f} s")
        page.keyboard.press("ArrowRight")
        assert f"{points[1][1]:.1f} \N{EN DASH} {points[1][2]:.1f} s" in spoken.inner_text()
        page.keyboard.press("ArrowDown")
        assert spoken.inner_text().startswith(names[1])
        page.keyboard.press("ArrowUp")
        assert spoken.inner_text().startswith(names[0])
        page.keyboard.press("End")
        assert spoken.inner_text().startswith(names[points[-1][0]])
        page.keyboard.press("Escape")
        assert page.locator("#tip").is_hidden()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "v1"


def test_the_filter_finds_videos_by_name_and_status(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        shown = page.locator("article:visible")
        assert shown.count() == 7
        page.get_by_label("Name contains").fill("PEOPLE")
        assert shown.count() == 1
        assert page.locator("#matching").inner_text() == "1 of 7"
        page.get_by_label("Name contains").fill("")
        page.get_by_label("Status").select_option("failed")
        assert shown.locator("h3").all_text_contents() == ["broken"]
        page.get_by_label("Name contains").fill("people")
        assert page.get_by_text("No video of this page matches.").is_visible()
        page.evaluate("location.hash = '#v0'")
        page.wait_for_timeout(100)
        assert page.locator("#v0").is_visible()


def test_faces_come_from_the_source_and_a_source_that_is_gone_is_said_so(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        faces = page.locator("#v0 .strip img")
        assert faces.count() >= 3
        skin = faces.first.evaluate(
            """(image) => {
                const canvas = new OffscreenCanvas(96, 96).getContext('2d');
                canvas.drawImage(image, 0, 0);
                const data = canvas.getImageData(32, 32, 32, 32).data;
                return [0, 1, 2].map((c) => data.filter((_, i) => i % 4 === c).reduce((a, b) => a + b) / 1024);
            }"""
        )
        assert skin[0] > skin[1] > skin[2] > 40, "the middle of a face has the colour of skin"
        assert page.locator("#v1 .strip img").evaluate_all("(all) => all.map((image) => image.dataset.track)") == [
            "0", "0", "0", "1", "1", "1",
        ]  # fmt: skip
        assert "no longer at gone.mp4" in (page.locator("#v2").text_content() or "")


def test_without_script_everything_but_pointing_and_filtering_is_there(browser: Browser, report: Path) -> None:
    with opened(browser, report, script=False) as page:
        assert page.locator("article:visible").count() == 7
        assert page.locator("#plot circle:visible").count() > 10
        assert page.locator("form:visible").count() == 0


def test_the_map_is_coloured_by_a_label_with_a_legend(browser: Browser, report: Path) -> None:
    hues = "[...document.querySelectorAll('#plot g')].map((g) => g.style.getPropertyValue('--h'))"
    with opened(browser, report, width=320) as page:
        by_video = page.evaluate(hues)
        assert page.locator("#colour option").all_text_contents() == ["video", "split"]  # one mood is no choice
        page.select_option("#colour", label="split")
        legend = page.locator("#values li").all_text_contents()
        assert [text.split() for text in legend[:2]] == [["train", "1"], ["val", "1"]]
        assert legend[2].startswith(" <script>")
        assert page.locator("#plot g.unlabelled").count() == 2
        assert page.evaluate(hues) != by_video
        assert page.locator("#meaning").text_content() == "those of split"
        page.locator("#values li").first.hover()
        assert page.locator("#plot g.chosen").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        page.select_option("#colour", label="video")
        assert page.evaluate(hues) == by_video
        assert page.locator("#values li").count() == 0


def test_faces_come_before_charts_and_a_few_videos_have_no_rates(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        order = page.locator("main > section").evaluate_all("parts => parts.map((part) => part.id)")
        assert order == ["totals", "failures", "map", "videos", "charts"]
        titles = page.locator("#charts h3").all_text_contents()
        assert titles == ["Face scores", "Faces per video", "Windows per video", "Video length"]
        assert "NoFaceError" in (page.locator("#failures").text_content() or "")


def test_cards_are_drawn_in_a_picture_of_the_whole_page(browser: Browser, report: Path, tmp_path: Path) -> None:
    with opened(browser, report) as page:
        page.screenshot(path=tmp_path / "whole.png", full_page=True)
        drawn = page.locator(".video .strip img").first.bounding_box()
        assert drawn is not None
    picture = cv2.imread(str(tmp_path / "whole.png"))
    assert picture is not None
    x, y, width, height = (int(drawn[key]) for key in ("x", "y", "width", "height"))
    assert picture[y : y + height, x : x + width].std() > 20
