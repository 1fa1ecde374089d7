"""The pages in a real headless Chromium, opened from disk: no error, nothing missing, every switch does its work."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paper_tables.__main__ import main
from tests.helpers.fake_results import write_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NAMES = ("cifar10-plain-20", "cifar10-plain-56", "cifar10-resnet-20", "cifar10-resnet-56")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report on four nets, two of them with two seeds; the page of a run; two runs side by side."""
    folder = tmp_path_factory.mktemp("browser")
    for run in NAMES:
        for seed in range(2 if "resnet" in run else 1):
            write_run(folder / "results", "demo", run, seed, test=9.0 + seed, iterations=300)
    options = ["--profile", "demo", "--results", str(folder / "results"), "--report", str(folder)]
    assert main(["render", "all", *options]) == 0
    assert main(["compare", NAMES[2], NAMES[3], *options]) == 0
    found = {"index": folder / "demo" / "index.html", "run": folder / "demo" / "runs" / f"{NAMES[3]}.html"}
    return found | {"compare": next((folder / "compare").glob("*/index.html"))}


def opened(browser: Any, path: Path, width: int = 1600, **context: Any) -> Any:
    """The page once its script has run; `page.trouble` holds every error and every file that did not come."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
    page.set_default_timeout(120_000)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(request.url))
    page.trouble = trouble
    page.goto(path.as_uri())
    if context.get("java_script_enabled", True):
        page.wait_for_selector("html[data-ready=yes]")
    return page


def traces(page: Any, plot: str) -> list[dict[str, Any]]:
    """Name and colour of what a plot shows, the bands of the spread left out."""
    script = "id => document.getElementById('live-' + id).data.map(t => ({name: t.name, mode: t.mode, line: t.line}))"
    return [trace for trace in page.evaluate(script, plot) if trace.get("name")]


def names(page: Any, plot: str = "fig6") -> list[str]:
    return [trace["name"] for trace in traces(page, plot)]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1600, "light")])
@pytest.mark.parametrize("name", ["index", "run", "compare"])
def test_a_page_opens_from_disk_without_trouble_at_both_widths(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: Any
) -> None:
    page = opened(browser, pages[name], width, color_scheme=scheme)
    assert page.trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".live").count() >= 1
    for plot in page.locator(".host").all():
        assert plot.locator("svg").count() >= 1
        assert len(plot.get_attribute("aria-label")) > 20
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == ("rgb(230, 233, 236)" if scheme == "dark" else "rgb(28, 32, 36)")
    page.context.close()


def test_switches_change_what_is_drawn(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["index"])
    figure = page.locator("[data-plot=fig6]")
    before = names(page)
    assert "ResNet-56, test error, mean of 2" in before
    figure.get_by_label("ResNet-56", exact=True).uncheck()
    assert not [name for name in names(page) if name.startswith("ResNet-56")]
    figure.get_by_label("training error", exact=True).uncheck()
    assert not [name for name in names(page) if "training error" in name]
    figure.get_by_label("each seed", exact=True).check()
    assert {"ResNet-20, test error, seed 0", "ResNet-20, test error, seed 1"} <= set(names(page))
    figure.get_by_label("seed 0", exact=True).uncheck()
    assert "ResNet-20, test error, seed 0" not in names(page)
    assert [name for name in names(page) if name.startswith("paper: ")]
    figure.get_by_label("values read off its figure", exact=True).uncheck()
    assert not [name for name in names(page) if name.startswith("paper: ")]
    figure.get_by_label("log", exact=True).check()
    assert page.evaluate("document.getElementById('live-fig6').layout.xaxis.type") == "log"
    figure.get_by_label("linear", exact=True).check()
    figure.get_by_label("last tenth", exact=True).check()
    assert page.evaluate("document.getElementById('live-fig6').layout.xaxis.range") == [270, 300]
    assert page.trouble == []
    page.context.close()


def test_keyboard_palette_pointer_and_copying(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["index"])
    colours = {trace["line"]["color"] for trace in traces(page, "fig1") if trace["mode"] == "lines"}
    assert colours == {"#e69f00", "#d55e00"}
    page.get_by_label("the paper’s", exact=True).check()
    colours = {trace["line"]["color"] for trace in traces(page, "fig1") if trace["mode"] == "lines"}
    assert colours == {"#b8b000", "#e8000b"}
    page.locator("[data-plot=fig1]").get_by_label("plain-56", exact=True).focus()
    page.keyboard.press("Space")
    assert not [name for name in names(page, "fig1") if "plain-56" in name]
    page.locator("#live-fig1 .nsewdrag").first.hover()
    readout = page.locator("[data-plot=fig1] .readout")
    readout.locator("span", has_text="plain-20, training error:").first.wait_for()
    assert "learning rate" in readout.text_content()
    assert page.locator("#live-fig1 .hoverlayer text").count() == 0  # nothing covers the curves
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#table6").get_by_role("button", name="Copy as LaTeX").click()
    page.locator("#table6 .said", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("\\begin{table}")
    page.context.close()


def test_without_scripts_and_on_paper_the_printed_figures_stand_there(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["index"], java_script_enabled=False)
    assert page.locator("#fig6 img.static").is_visible()
    assert page.locator("button").count() == 0
    page.context.close()
    page = opened(browser, pages["index"])
    assert not page.locator("#fig6 img.static").is_visible()
    page.emulate_media(media="print")
    assert page.locator("#fig6 img.static").is_visible()
    assert not page.locator("#fig6 .live").is_visible()
    assert not page.locator("nav").is_visible()
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert 5 < sheets < 60
    page.context.close()


def test_no_control_sends_anything_away(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["index"])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.on("page", lambda other: asked.append(other.url))
    controls = page.locator("#live-fig1 .modebar-btn")
    titles = [control.get_attribute("data-title") for control in controls.all()]
    assert "Zoom" in titles
    for control, title in zip(controls.all(), titles, strict=True):
        assert not re.search("share|cloud|send|edit|plotly", title, re.IGNORECASE)
        control.click()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    foreign = "[...document.querySelectorAll('[href], [src], [action]')].map(e => e.href || e.src || e.action)"
    assert [url for url in page.evaluate(foreign) if not url.startswith("file:")] == []
    assert "://" not in (pages["index"].parent / "assets" / "report.js").read_text()
    page.context.close()


@pytest.mark.parametrize("name", ["index", "run", "compare"])
def test_a_finger_on_a_chart_scrolls_the_page(browser: Any, pages: dict[str, Path], name: str) -> None:
    page = opened(browser, pages[name], 390, has_touch=True, is_mobile=True)
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate("document.querySelector('.host').scrollIntoView({ block: 'center' })")
    chart = page.locator(".host .nsewdrag").first
    box, before = chart.bounding_box(), page.evaluate("scrollY")
    swipe(page, box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"], 150)
    page.wait_for_function(f"scrollY > {before} + 100")
    assert page.evaluate("document.querySelector('.host').layout.dragmode") is False
    page.wait_for_timeout(500)  # until the page stands still
    chart.tap(force=True)
    page.locator(".readout b", has_text="iteration").first.wait_for()
    page.context.close()


def swipe(page: Any, x: float, y: float, up: int) -> None:
    """A finger moves up by so many pixels."""
    finger = page.context.new_cdp_session(page)
    for kind, height in [("touchStart", y), *(("touchMove", y - step) for step in range(10, up + 1, 10))]:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": height}]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


HEAD = "[...document.querySelectorAll('#table6 th')].find(e => e.textContent === head)"
RIGHT = f"head => {HEAD}.getBoundingClientRect().right"


@pytest.mark.parametrize("width", [360, 390, 1280, 1600])
def test_error_and_verdict_are_seen_without_scrolling_sideways(
    browser: Any, pages: dict[str, Path], width: int
) -> None:
    page = opened(browser, pages["index"], width)
    for head in ("paper", "here", "verdict"):
        assert page.evaluate(RIGHT, head) <= width
    page.evaluate("document.querySelector('#table6 .scroll').scrollLeft = 500")
    assert page.evaluate("document.querySelector('#table6 tbody td').getBoundingClientRect().left") >= 0  # it stays
    page.context.close()


def test_four_nets_are_seen_first_and_what_was_not_run_is_folded(browser: Any, pages: dict[str, Path]) -> None:
    page = opened(browser, pages["index"], 1280)
    first = page.locator("#headline table").first
    assert first.locator("tbody td:first-child").all_text_contents() == [
        "plain-20",
        "plain-56",
        "ResNet-20",
        "ResNet-56",
    ]
    assert first.bounding_box()["y"] + first.bounding_box()["height"] < 900
    sections = page.evaluate("[...document.querySelectorAll('main > section')].map(section => section.id)")
    order = [sections.index(name) for name in ("headline", "table6", "claims", "table4", "runs")]
    assert order == sorted(order)
    assert not page.locator("#table4 table").is_visible()
    page.locator("nav").get_by_role("link", name="Table 4").click()
    page.locator("#table4 table").wait_for()
    assert page.evaluate("document.documentElement.scrollHeight") < 14_000
    page.context.close()


def test_the_papers_colours_for_the_files_are_those_of_the_charts(
    browser: Any, pages: dict[str, Path], tmp_path: Path
) -> None:
    results = str(pages["index"].parents[1] / "results")
    options = ["--profile", "demo", "--results", results, "--report", str(tmp_path), "--palette", "paper"]
    assert main(["render", "fig1", *options]) == 0
    page = opened(browser, tmp_path / "demo" / "index.html")
    colours = {trace["line"]["color"] for trace in traces(page, "fig1") if trace["mode"] == "lines"}
    assert colours == {"#b8b000", "#e8000b"}
    assert page.get_by_label("the paper’s", exact=True).is_checked()
    page.context.close()
