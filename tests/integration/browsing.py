"""Pages in a real browser: opened without a network, and how well their text can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

# For an emptied machine, as root, without a network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def opened(
    browser: Browser, report: Path, *, width: int = 1280, dark: bool = False, script: bool = True
) -> Iterator[Page]:
    """The page in a fresh window; fails where it asks for anything, or complains."""
    trouble: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", java_script_enabled=script
    )
    page = context.new_page()
    page.on("request", lambda request: trouble.append(request.url) if not request.url.startswith("data:") else None)
    page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(report.as_uri())
    yield page
    assert trouble == [report.as_uri()]
    context.close()


# The contrast ratio of WCAG 2.2 between a colour and what an element stands on, whatever way the colour is written.
COLOURS = """
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => {
        const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgba(colour).map(linear);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return rgba(colour)[3] === 255 ? colour : ground(element.parentElement);
    };
    const contrast = (colour, element) => {
        const [a, b] = [luminance(colour), luminance(ground(element))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
"""
TEXTS = """
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.data.trim();
        if (!text || element.closest('script, style, .visually-hidden')) continue;
        const style = getComputedStyle(element);
        found.push([contrast(element.closest('svg') ? style.fill : style.color, element), text.slice(0, 40)]);
    }
    return found.sort((x, y) => x[0] - y[0]);
"""
