"""The report in a real browser: nothing foreign runs, nothing is fetched, the filters work, it fits a narrow screen."""

import shutil
from collections.abc import Iterator

import pytest

from agent.report import write_report
from tests.agent.fake_run import Plan, make_fake_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        launched = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_fake_run(tmp_path_factory.mktemp("fake"), Plan(items=80, holdout=40, hostile=True))
    return write_report(run).as_uri()


def test_nothing_foreign_runs_and_nothing_is_fetched(browser: object, report: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(report)
    assert page.evaluate("window.hacked") is None
    assert [url for url in asked if not url.startswith(("data:", report))] == []
    assert wrong == []
    pictures = page.evaluate(
        "[...document.images].every((image) => !image.src || (image.complete && image.naturalWidth > 0))"
    )
    assert pictures
    page.close()


def test_items_can_be_filtered_and_shown_page_by_page(browser: object, report: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(report)
    every = page.locator(".error").count()
    visible = page.locator(".error:visible")
    assert visible.count() == 20 < every
    page.locator("#more").click()
    assert visible.count() == min(40, every)
    page.locator("#by-outcome").select_option("became_right")
    assert visible.count() > 0
    assert set(visible.evaluate_all("cards => cards.map((card) => card.dataset.outcome)")) == {"became_right"}
    assert page.locator(".group:visible").count() == 1
    page.locator("[data-show-gap]").first.click()
    gap = page.locator("[data-show-gap]").first.get_attribute("data-show-gap")
    assert all(gap in gaps.split() for gaps in visible.evaluate_all("cards => cards.map((card) => card.dataset.gaps)"))
    assert page.locator("#by-outcome").input_value() == ""
    page.locator('nav [data-show-outcome="became_right"]').click()
    assert page.locator("#by-outcome").input_value() == "became_right"
    assert page.locator("#became-right").is_visible()
    page.close()


def test_a_picture_opens_large_and_closes_by_the_keyboard(browser: object, report: str) -> None:
    page = browser.new_page()  # type: ignore[attr-defined]
    page.goto(report)
    dialog, picture = page.locator("#zoom"), page.locator(".error .pictures img:visible").first
    assert not dialog.is_visible()
    picture.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert dialog.locator("img").bounding_box()["width"] > picture.bounding_box()["width"]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    picture.click()
    assert dialog.is_visible()
    page.locator("#unzoom").click()
    assert not dialog.is_visible()
    page.close()


def test_without_javascript_every_item_can_be_read(browser: object, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto(report)
    assert page.locator(".error:visible").count() == page.locator(".error").count() > 20
    assert not page.locator(".filter").is_visible()
    assert not page.locator("#zoom").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_fits_and_can_be_read(browser: object, report: str, scheme: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[attr-defined]
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(_CONTRAST) >= 4.5
    page.close()


@pytest.mark.parametrize("width", [360, 400, 480])
def test_tables_can_be_read_in_a_narrow_window(browser: object, report: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
    page.goto(report)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    words = page.locator(".wide:has(.stack)")
    assert words.count() == 3
    assert words.evaluate_all("boxes => boxes.every((box) => box.scrollWidth <= box.clientWidth)")
    names = page.locator(".stack tbody .name")
    assert min(names.evaluate_all("cells => cells.map((cell) => cell.clientWidth)")) > 0.8 * width
    labels = "cells => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    assert {'"round 1"', '"right in the kept round 2"', '"all"', '"due"'} <= set(
        page.locator(".stack td").evaluate_all(labels)
    )
    for table in page.locator(".figures").all():
        table.locator("..").evaluate("box => { box.scrollLeft = box.scrollWidth; }")
        name, box = table.locator("tbody th").first, table.locator("..")
        assert name.bounding_box()["x"] == box.bounding_box()["x"]  # what the row is about stays in sight
        assert table.locator("tr").first.locator("th").last.is_visible()
    page.close()


def test_nothing_has_to_be_scrolled_to_in_a_wide_window(browser: object, report: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})  # type: ignore[attr-defined]
    page.goto(report)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    hidden = "boxes => boxes.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.ariaLabel)"
    assert page.locator(".wide").evaluate_all(hidden) == []
    page.close()


#: The least contrast (WCAG 2) of any text with the ground behind it, bars and pictures left out.
_CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = 21;
  for (const node of document.querySelectorAll("main *")) {
    if (node.closest("svg") || ![...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
}"""
