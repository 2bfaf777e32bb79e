"""The listening page in a browser: what a person sees, hears, reaches by keyboard, and saves."""

import csv
import io
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers import Fitted, copy_of
from service.browsing import (
    ANSWER,
    CHROMIUM,
    FLAGS,
    PHONE,
    Open,
    Site,
    add,
    complaint,
    drop,
    explain,
    listen,
    number,
    saved,
    search,
    serving,
    sound_file,
    titles,
)

from coldstart.factors.factors import Factors
from coldstart.service.settings import ServiceSettings
from coldstart.shards.reading import Shards

HOSTILE_ID = "it's <i>hostile"
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
"""An id and a title that would run as a script if they were taken for markup."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip(
            "THE PAGE WAS NOT TESTED: there is no Chromium; install it: apt-get install chromium"
        )
    api = pytest.importorskip(
        "playwright.sync_api",
        reason="THE PAGE WAS NOT TESTED: install Playwright: pip install playwright",
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def settings(heard: Fitted, tmp_path_factory: pytest.TempPathFactory) -> ServiceSettings:
    """Of a copy, which may be changed."""
    run = copy_of(heard, tmp_path_factory.mktemp("page")).run
    return ServiceSettings(str(run), play=True, watch=0)


@pytest.fixture(scope="module")
def site(browser: object, settings: ServiceSettings) -> Iterator[Site]:
    """With two more tracks, of a hostile title and of an id with a slash."""
    track = Shards(Path(settings.run).parent / "shards").all_tracks(["train"])[0]
    with serving(settings) as address:
        add(address, track_id=HOSTILE_ID, title=HOSTILE, artist="<b>Nobody</b>")
        add(address, track_id="AC/DC", title="AC/DC", artist="AC/DC")
        yield Site(address, track["track_id"], track["title"], track["artist"])


@pytest.fixture
def page_of(browser: Any, site: Site) -> Iterator[Open]:
    """Opens a page; at the end, no script of it may have failed, nor broken the security policy."""
    contexts, wrong = [], []

    def hear(message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            wrong.append(message.text)

    def open_page(path: str = "", address: str = site.address, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", hear)
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def test_a_track_is_searched_heard_recommended_explained_and_kept(
    page_of: Open, site: Site
) -> None:
    page = page_of()
    search(page, site.title)
    assert page.locator("#asked-title").inner_text() == site.title
    assert f"track={quote(site.track)}" in page.url
    # Its sound, and a recommendation's.
    page.locator("#asked-actions [data-plays]").click()
    listen(page)
    page.locator(".result [data-plays]").first.click()
    page.wait_for_function("() => document.querySelector('#audio').currentTime > 0")
    assert page.locator(".result [data-plays]").first.inner_text() == "Pause"
    # Why: bars that add up.
    explain(page)
    adds = [number(text) for text in page.locator("tr.whole .number").all_inner_texts()]
    similarity = float(page.locator(".result .similarity .number").first.inner_text())
    assert len(adds) >= 3  # sound, attributes, genres
    assert sum(adds) == pytest.approx(similarity, abs=0.003)
    assert float(page.locator("tr.total .number").inner_text()) == pytest.approx(
        similarity, abs=0.0015
    )
    assert page.locator(".tail circle").count() == page.locator(".result").count() == 10
    assert page.locator(".tail .asked").count() == 1
    # New and known ones, mixed.
    page.get_by_label("All", exact=True).check(force=True)
    page.get_by_label("How many").fill("4")
    for percent, new in (("50", 2), ("0", 0)):
        page.get_by_label("New ones, in percent").fill(percent)
        page.get_by_label("New ones, in percent").press("Enter")
        page.wait_for_function(
            "count => document.querySelectorAll('.result').length === 4"
            " && document.querySelectorAll('.result .badge.new').length === count",
            arg=new,
        )
    assert "new_share=0" in page.url
    page.reload()
    page.wait_for_selector(ANSWER)
    assert page.get_by_label("New ones, in percent").input_value() == "0"
    explain(page)
    page.get_by_label("New ones, in percent").fill("")
    # Other tracks.
    page.get_by_label("Known", exact=True).check(force=True)
    page.wait_for_selector(f"{ANSWER} .badge.known")
    page.get_by_label("How many").fill("3")
    page.get_by_label("How many").press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.result').length === 3")
    assert "tracks=known" in page.url
    assert "k=3" in page.url
    assert "new_share" not in page.url
    # Kept, and saved.
    kept = titles(page)
    for i in range(3):
        page.locator(".result [data-keeps]").nth(i).click()
    rows = list(csv.DictReader(io.StringIO(saved(page, "Save as CSV"))))
    assert [row["title"] for row in rows] == kept
    assert {row["by"] for row in rows} == {"plays"}
    lines = saved(page, "Save as M3U").splitlines()
    assert lines[0] == "#EXTM3U"
    assert f"#EXTINF:-1,{rows[0]['artist']} - {rows[0]['title']}" in lines
    addresses = [line for line in lines if not line.startswith("#")]
    assert addresses == [f"{site.address}tracks/{quote(r['track_id'])}/audio" for r in rows]
    with urllib.request.urlopen(addresses[0]) as sound:
        assert sound.read(4) == b"fLaC"


def test_links_can_be_shared_and_back_works(page_of: Open, site: Site) -> None:
    page = page_of(f"?track={quote(site.track)}&tracks=all&k=4&where=plays+%3E%3D+0")
    page.wait_for_selector(ANSWER)
    first = titles(page)
    assert len(first) == 4
    assert page.get_by_label("Only where").input_value() == "plays >= 0"
    page.get_by_role("button", name="More like it").first.click()
    page.wait_for_function(
        "title => document.querySelector('#asked-title').textContent === title", arg=first[0]
    )
    page.wait_for_selector(ANSWER)
    page.go_back()
    page.wait_for_function(
        "title => document.querySelector('#asked-title').textContent === title", arg=site.title
    )
    page.wait_for_selector(ANSWER)
    assert titles(page) == first


def test_a_listener_gets_tracks(page_of: Open, settings: ServiceSettings) -> None:
    user = Factors.load(Path(settings.run).parent / "factors").user_ids[0]
    page = page_of()
    page.wait_for_selector("svg.tail")
    page.get_by_label("Or a listener").fill(user)
    page.get_by_label("Or a listener").press("Enter")
    page.wait_for_selector(ANSWER)
    assert f"user={quote(user)}" in page.url
    explain(page)
    page.get_by_label("Or a listener").fill("nobody")
    page.get_by_label("Or a listener").press("Enter")
    assert "'nobody'" in complaint(page)
    assert page.locator(".result").count() == 0


def test_a_sound_file_is_dropped_and_heard(page_of: Open, tmp_path: Path) -> None:
    path = sound_file(tmp_path)
    page = page_of()
    page.wait_for_selector("svg.tail")
    drop(page, path)
    page.wait_for_selector(ANSWER)
    assert page.locator("#asked-title").inner_text() == path.name
    page.locator("#asked-actions [data-plays]").click()
    listen(page)
    assert page.locator("#audio").get_attribute("src").startswith("blob:")
    explain(page)
    # The file stays here while the page does.
    page.reload()
    assert path.name in complaint(page)


def test_a_corrupt_file_is_said_to_be_one(page_of: Open, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp3"
    path.write_bytes(b"no sound at all" * 100)
    page = page_of()
    page.wait_for_selector("svg.tail")
    page.get_by_label("Or a sound file").set_input_files(path)
    said = complaint(page)
    assert "the sound file" in said
    assert str(tmp_path) not in said
    assert page.locator(".result").count() == 0


def test_a_hostile_title_is_text(page_of: Open, site: Site) -> None:
    page = page_of()
    page.wait_for_selector("svg.tail")
    page.get_by_role("combobox").fill(HOSTILE_ID)
    assert HOSTILE in page.get_by_role("option").first.inner_text()
    page.get_by_role("option").first.click()
    page.wait_for_selector(ANSWER)
    assert page.locator("#asked-title").inner_text() == HOSTILE
    page.locator("#asked-actions [data-keeps]").click()
    assert HOSTILE in page.locator("#list").inner_text()
    page.goto(f"{site.address}?track={quote(site.track)}&where=title+like+'<img%25'")
    page.wait_for_selector(ANSWER)
    assert titles(page) == [HOSTILE]
    assert "<b>Nobody</b>" in page.locator(".result").inner_text()
    explain(page)
    assert page.locator("main img, main b >> text=Nobody").count() == 0
    assert "broken" not in page.title()


def test_an_id_may_have_a_slash(page_of: Open) -> None:
    page = page_of("?track=AC%2FDC&k=3&tracks=all")
    page.wait_for_selector(ANSWER)
    explain(page)
    assert page.locator("#asked-title").inner_text() == "AC/DC"


def test_the_list_is_put_in_order_and_lasts(page_of: Open, site: Site) -> None:
    page = page_of(f"?track={quote(site.track)}&k=3&tracks=all")
    page.wait_for_selector(ANSWER)
    first, second, third = titles(page)
    for i in range(3):
        page.locator(".result [data-keeps]").nth(i).click()
    page.get_by_role("button", name=f"Move up: {third}").click()
    page.get_by_role("button", name=f"Remove: {first}").click()
    page.reload()
    page.wait_for_selector(ANSWER)
    assert page.locator("#list b").all_inner_texts() == [third, second]
    page.get_by_role("button", name="For somebody who likes these").click()
    page.wait_for_selector("text=For somebody who likes")
    page.wait_for_selector(ANSWER)
    assert page.url.count("liked=") == 2


def test_the_keyboard_alone_is_enough(page_of: Open, site: Site) -> None:
    page = page_of()
    page.wait_for_selector("svg.tail")
    keyboard = page.keyboard

    def tab_to(selector: str, key: str = "Tab") -> None:
        for _ in range(60):
            keyboard.press(key)
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} can't be reached")

    tab_to("#search")
    keyboard.type(site.title)
    page.wait_for_selector("[role=option]")
    keyboard.press("ArrowDown")
    chosen = page.locator("#search").get_attribute("aria-activedescendant")
    assert page.locator(f"#{chosen}").get_attribute("aria-selected") == "true"
    keyboard.press("Enter")
    page.wait_for_selector(ANSWER)
    assert page.evaluate("() => document.activeElement.id") == "asked-title"
    tab_to("[name=candidates]")
    keyboard.press("ArrowRight")
    page.wait_for_selector(f"{ANSWER} .badge.known")
    tab_to(".result [data-plays]")
    keyboard.press("Enter")
    listen(page)
    tab_to(".result [aria-expanded]")
    keyboard.press("Enter")
    page.wait_for_selector(".reasons:not([aria-busy]):visible > *")
    tab_to(".result [data-keeps]")
    keyboard.press("Space")
    assert page.locator("#list li").count() == 1
    tab_to(".kept .remove")
    keyboard.press("Enter")
    assert page.locator("#list li").count() == 0
    page.wait_for_selector("[aria-live=polite]:has-text('no longer')", state="attached")


def test_a_phone_shows_all_of_it(page_of: Open, site: Site) -> None:
    page = page_of(viewport=PHONE)
    page.wait_for_selector("svg.tail")
    for path in (
        "",
        f"?track={quote(site.track)}&tracks=all",
        f"?track={quote(HOSTILE_ID)}",
        "page/api.html",
    ):
        page.goto(site.address + path)
        page.wait_for_selector({"": "svg.tail", "page/api.html": "article"}.get(path, ANSWER))
        if "track" in path:
            explain(page)
        width = page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path


def test_dark_mode_is_dark(page_of: Open) -> None:
    page = page_of(viewport=PHONE)
    page.wait_for_selector("svg.tail")
    shots, grounds = [], []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shots.append(page.screenshot())
        color = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", color)[:3])))
    assert shots[0] != shots[1]
    assert grounds[0] > 600 > 150 > grounds[1]


def test_screen_readers_find_nothing_amiss(page_of: Open, site: Site) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="ACCESSIBILITY WAS NOT TESTED: pip install axe-playwright-python",
    ).Axe()

    def check(page: Any, context: str | None = None, **options: Any) -> None:
        found = axe.run(page, context=context, options=options).response["violations"]
        grave = [v for v in found if v["impact"] in ("serious", "critical")]
        assert not grave, [(v["id"], [node["html"] for node in v["nodes"]]) for v in grave]

    # The policy would refuse axe's own script.
    page = page_of("?k=3", bypass_csp=True, reduced_motion="reduce")
    page.wait_for_selector("svg.tail")
    check(page)
    search(page, site.title)
    page.locator(".result [data-plays]").first.click()
    page.locator(".result [data-keeps]").first.click()
    explain(page)
    check(page)
    page.emulate_media(color_scheme="dark")
    check(page, runOnly=["color-contrast"])
    page.goto(f"{site.address}page/api.html")
    page.wait_for_selector("article")
    check(page, rules={"color-contrast": {"enabled": False}})
    check(page, "#main article:first-of-type", runOnly=["color-contrast"])  # it is slow


def test_a_token_is_asked_for_and_plays_sound(
    page_of: Open, site: Site, settings: ServiceSettings
) -> None:
    token = "a-token-of-this-test"
    with serving(settings._replace(token=token)) as address:
        page = page_of(f"?track={quote(site.track)}", address)
        page.get_by_role("textbox", name="Token").fill("a wrong one")
        page.get_by_role("button", name="Go on").click()
        page.wait_for_selector("#token-refused:visible")
        page.get_by_role("textbox", name="Token").fill(token)
        page.get_by_role("button", name="Go on").click()
        page.wait_for_selector(ANSWER)
        page.locator(".result [data-plays]").first.click()
        listen(page)
        assert token not in page.content() + page.url
        stored = "() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }])"
        assert token not in page.evaluate(stored)


def test_all_routes_are_on_the_page_of_the_api(page_of: Open, site: Site) -> None:
    with urllib.request.urlopen(f"{site.address}openapi.json") as answer:
        api = json.load(answer)
    page = page_of("page/api.html")
    page.wait_for_selector("article")
    text = page.locator("#main").inner_text()
    for path, item in api["paths"].items():
        for method, route in item.items():
            assert path in page.locator(f"#{route['operationId']} h3").inner_text(), method
            for parameter in route.get("parameters", []):
                assert parameter["name"] in page.locator(f"#{route['operationId']}").inner_text()
    assert all(name in text for name in api["components"]["schemas"])
    links = page.locator("main a[href^='#']").evaluate_all("all => all.map((link) => link.hash)")
    assert [link for link in set(links) if page.locator(link).count() != 1] == []
    assert "undefined" not in text
    assert "[object" not in text
