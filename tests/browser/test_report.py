"""The page of all results in a real browser, opened from a file as its readers open it."""

import json
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from axe_core_python.selenium import Axe
from report_results import make_results
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from mode_connectivity.reporting.page.build import make_report

DEMO = Path(__file__).parents[2] / "results" / "demo" / "report.html"
"""That of a demo which ran here, if one did."""


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    make_report(make_results(results), results)
    return results / "report.html"


@pytest.fixture(params=["made_up", "demo"])
def page(request: pytest.FixtureRequest, made_up: Path) -> Path:
    if request.param == "made_up":
        return made_up
    if not DEMO.is_file():
        pytest.skip("no demo ran in this checkout")
    return DEMO


def opened(browser: Chrome, page: Path, width: int = 1300, height: int = 1000) -> Chrome:
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get("about:blank")
    browser.get(page.as_uri())
    return browser


def find(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def requested(browser: Chrome) -> set[str]:
    """Return the addresses that were asked for since the page was opened."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }


def test_it_loads_from_a_file_without_errors_and_without_a_network(
    browser: Chrome, page: Path
) -> None:
    opened(browser, page)
    pictures = browser.execute_script(
        "return [...document.images].map(each => each.complete && each.naturalWidth > 0)"
    )
    assert pictures
    assert all(pictures)
    assert browser.get_log("browser") == []
    asked = {url for url in requested(browser) if not url.startswith(("data:", "about:"))}
    assert asked == {page.as_uri()}


def test_every_link_works(browser: Chrome, page: Path) -> None:
    opened(browser, page)
    links = browser.execute_script("return [...document.links].map(each => each.href)")
    assert len(links) > 20
    here = page.as_uri()
    for link in set(links):
        place, _, anchor = link.partition("#")
        if place == here:
            found = browser.execute_script(
                "return document.getElementById(arguments[0]) !== null", unquote(anchor)
            )
            assert found, link
        else:
            assert Path(unquote(urlparse(place).path)).is_file(), link


@pytest.mark.parametrize("width", [1300, 390])
def test_it_is_accessible_with_everything_open(browser: Chrome, page: Path, width: int) -> None:
    opened(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    violations = Axe().run(browser)["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []


def test_nothing_is_wider_than_a_phone(browser: Chrome, page: Path) -> None:
    opened(browser, page, 390, 844)
    browser.execute_script("document.querySelectorAll('.claim').forEach(each => each.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    # Only what scrolls on its own may be wider.
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(each =>"
        " each.getBoundingClientRect().right > 391 && !each.closest('.scroll, pre, .bars thead'))"
        ".map(each => each.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_statements_are_shown_by_verdict(browser: Chrome, made_up: Path) -> None:
    opened(browser, made_up)
    shown = lambda: browser.execute_script(  # noqa: E731
        "return [...document.querySelectorAll('.claim')].filter(each => !each.hidden)"
        ".map(each => each.dataset.verdict)"
    )
    everything = shown()
    assert "not-run" in everything
    button = find(browser, ".filters button[data-verdict='not-run']")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert shown() == [verdict for verdict in everything if verdict != "not-run"]
    # By keyboard, too.
    button.send_keys(Keys.SPACE)
    assert shown() == everything


def test_a_link_to_a_statement_opens_it(browser: Chrome, made_up: Path) -> None:
    opened(browser, made_up)
    claim = find(browser, "#claim-curves_below_segment")
    assert claim.get_attribute("open") is None
    browser.execute_script("location.hash = 'claim-curves_below_segment'")
    assert browser.execute_async_script(
        "const done = arguments[1]; setTimeout(() => done(arguments[0].open), 100)", claim
    )
    assert claim.find_element(By.CSS_SELECTOR, ".bars td.number").is_displayed()


def points_of(browser: Chrome, artefact: str) -> list[dict]:
    script = f"return document.getElementById('points-{artefact}').textContent"
    return json.loads(browser.execute_script(script))


def test_a_plane_is_explored_with_the_pointer(browser: Chrome, made_up: Path) -> None:
    opened(browser, made_up)
    picture = find(browser, "#garipov2018_figure1 .picture")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    panel = points_of(browser, "garipov2018_figure1")[1]
    across, down, x, y, value = panel["series"][0]["points"][30]
    size = picture.size
    ActionChains(browser).move_to_element_with_offset(
        picture, round((across - 0.5) * size["width"]), round((down - 0.5) * size["height"])
    ).perform()
    tip = find(browser, "#garipov2018_figure1 .tip")
    assert tip.is_displayed()
    lines = tip.text.splitlines()
    assert lines[0] == "Bezier curve"
    name, _, shown = lines[1].partition(": ")
    assert name == "Train loss"
    assert float(shown) == pytest.approx(value, rel=1e-4)
    assert [float(each) for each in lines[2].removeprefix("at ").split(", ")] == pytest.approx(
        [x, y], rel=1e-4, abs=1e-9
    )
    # The mark lies on the point.
    mark = find(browser, "#garipov2018_figure1 .mark").rect
    place = picture.rect
    assert mark["x"] + mark["width"] / 2 == pytest.approx(
        place["x"] + across * place["width"], abs=1.5
    )
    # Far from every point there is nothing to tell.
    ActionChains(browser).move_to_element_with_offset(
        picture, -size["width"] // 2 + 2, -size["height"] // 2 + 2
    ).perform()
    assert not tip.is_displayed()


def test_it_is_explored_with_the_keyboard(browser: Chrome, made_up: Path) -> None:
    opened(browser, made_up)
    picture = find(browser, "#garipov2018_figure1 .picture")
    readout = find(browser, "#garipov2018_figure1 .readout")
    browser.execute_script("arguments[0].focus()", picture)
    first, second, *_ = points_of(browser, "garipov2018_figure1")[0]["series"][0]["points"]
    keys = ActionChains(browser)
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert f"Train loss: {first[4]:.5g}" in readout.text
    keys.send_keys(Keys.ARROW_RIGHT).perform()
    assert f"Train loss: {second[4]:.5g}" in readout.text
    keys.send_keys(Keys.ARROW_DOWN).perform()
    assert readout.text.startswith("Bezier curve")
    assert readout.get_attribute("aria-live") == "polite"
    keys.send_keys(Keys.ESCAPE).perform()
    assert not find(browser, "#garipov2018_figure1 .tip").is_displayed()


def test_the_tab_key_reaches_what_can_be_used(browser: Chrome, made_up: Path) -> None:
    opened(browser, made_up)
    reached = []
    for _ in range(12):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.switch_to.active_element.text.strip())
    assert reached[0] == "Skip to the content"
    assert "Scorecard" in reached
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_it_prints_with_its_statements_tables_and_figures(browser: Chrome, page: Path) -> None:
    opened(browser, page)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not find(browser, "nav").is_displayed()
        assert find(browser, ".claim summary .statement").is_displayed()
        assert find(browser, "table.results").is_displayed()
        assert find(browser, ".picture img").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
