"""The server's page in a real browser: a person's path by mouse and by keyboard, and what goes wrong on the way.

Most of it runs against a server of invented articles; with PAGE_URL=http://127.0.0.1:8000/ what can be asked of any
server runs against that one.
"""

import json
import os
import re
import shutil
import threading
from urllib.parse import urlsplit

import pytest

from tests.serving.fake_server import MARKUP, MODELS, FakeServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server():
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(server):
    return os.environ.get("PAGE_URL", server.url)


@pytest.fixture
def new_page(chromium):
    """Opens pages; afterwards, none may have written an error to its console or asked another host."""
    contexts, wrong = [], []

    def open_page(url, width=1440, height=900, quiet=False, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if not quiet:  # Chromium itself writes of every answer that is no success
            page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        host = urlsplit(url).netloc
        page.on(
            "request",
            lambda asked: wrong.append(asked.url) if urlsplit(asked.url).netloc not in (host, "") else None,
        )
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def settle(page):
    """Wait until nothing is asked for: a moment after the last change, and no region is busy."""
    page.wait_for_timeout(350)
    wait_for_count(page, "[aria-busy=true]", 0)
    page.wait_for_selector(".pick:visible")


def wait_for_count(page, selector, count):
    for _ in range(100):
        if page.locator(selector).count() == count:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector}: {page.locator(selector).count()}, not {count}")


def history(page):
    return page.locator("#history .title").all_inner_texts()


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_by_mouse_from_an_empty_history_to_an_explanation(new_page, url):
    page = new_page(url)
    settle(page)
    assert "No clicks yet" in page.inner_text("#history")
    assert "Choose a recommended article" in page.inner_text("#why")
    titles = []
    for place in (0, 2, 4):
        row = page.locator("#results .result").nth(place)
        titles.insert(0, row.locator(".title").inner_text())
        row.click()
    settle(page)
    assert history(page) == titles
    assert page.locator("#results [aria-pressed=true]").count() == 3
    # The same on each side until the models or the limits differ.
    page.select_option("#side-b [name=model]", page.input_value("#side-a [name=model]"))
    settle(page)
    assert "ask for the same" in page.inner_text("#difference")
    page.fill("#side-b [name=k]", "4")
    settle(page)
    assert page.locator("#side-b .pick").count() == 4
    assert page.locator("#side-a .mark.only").count() == page.locator("#side-a .pick").count() - 4
    # Drag the newest click below the others.
    grips = page.locator(".grip")
    start, end = grips.nth(0).bounding_box(), grips.nth(2).bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["x"] + 5, end["y"] + end["height"] + 12, steps=6)
    page.mouse.up()
    settle(page)
    assert history(page) == [titles[1], titles[2], titles[0]]
    # Explain, then take a click away from within the explanation, and back.
    chosen = page.locator("#side-a .pick").nth(1)
    title = chosen.locator(".title").inner_text()
    chosen.click()
    page.wait_for_selector("#why .facts")
    assert page.inner_text("#why .big") == title
    assert page.locator("#why .interest").count() >= 1
    without = page.get_by_role("button", name="Without this click").first
    gone = without.get_attribute("aria-label").removeprefix("Without this click: ")
    without.click()
    settle(page)
    assert len(history(page)) == 2
    assert gone not in history(page)
    assert page.inner_text("#why .big") == title
    page.get_by_role("button", name="Undo").click()
    settle(page)
    assert len(history(page)) == 3
    # A link holds all of it, and so does a reload.
    before = page.inner_text("#compare"), history(page)
    page.reload()
    settle(page)
    wait_for_count(page, "#history .cat", 3)
    page.wait_for_selector("#why .facts")
    assert (page.inner_text("#compare"), history(page)) == before
    assert page.inner_text("#why .big") == title


def tab_to(page, selector, back=False, limit=200):
    """Press the Tab key until an element has the focus, which must be seen wherever it is."""
    for _ in range(limit):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        on_body = page.evaluate("document.activeElement === document.body")
        assert on_body or float(width.removesuffix("px")) >= 2, page.evaluate("document.activeElement.outerHTML")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{limit} tabs do not reach {selector}")


def test_by_keyboard_alone(new_page, url):
    page = new_page(url)
    settle(page)
    press = page.keyboard.press
    tab_to(page, "#words")
    tab_to(page, ".result")
    press("Enter")
    tab_to(page, ".result")
    press("Space")
    settle(page)
    assert len(history(page)) == 2
    newest = history(page)[0]
    assert re.search("Clicked|both lists|recommend", page.inner_text("#live"))
    tab_to(page, "#history [title=Older]")
    press("Enter")
    assert history(page)[1] == newest
    assert page.evaluate("document.activeElement.title") == "Older"  # the focus goes with the article
    tab_to(page, ".pick")
    settle(page)
    press("Enter")
    page.wait_for_selector("#why .facts")
    assert page.evaluate("document.activeElement.id") == "why-title"
    tab_to(page, "#why summary")
    tab_to(page, ".movers button")
    press("Enter")
    settle(page)
    assert len(history(page)) == 1
    assert page.evaluate("document.querySelector('#why').contains(document.activeElement)")
    press("Escape")
    assert page.evaluate("document.activeElement.matches('.pick, #compare-title')")
    # The map: one stop, read aloud, left by Tab.
    tab_to(page, "#chart")
    heard = page.inner_text("#live")
    press("ArrowRight")
    assert page.inner_text("#live") not in ("", heard)
    press("PageDown")
    assert page.is_visible("#tip")
    tab_to(page, "#legend button", limit=1)
    # Take the last click away: the focus is not lost.
    tab_to(page, "[title=Remove]", back=True)
    press("Enter")
    assert page.evaluate("document.activeElement.id") == "words"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_a_phone(new_page, url, scheme):
    page = new_page(url, 360, 740, color_scheme=scheme, reduced_motion="reduce", has_touch=True, is_mobile=True)
    settle(page)
    assert overflow(page) <= 0
    for place in range(5):
        page.locator("#results .result").nth(place).tap()
    settle(page)
    page.locator("#side-a .pick").first.tap()
    page.wait_for_selector("#why .facts")
    page.locator("#side-a summary").tap()
    page.locator("#why summary").last.tap()
    assert overflow(page) <= 0
    page.locator("#narrow-sides button").last.tap()
    settle(page)
    assert page.is_visible("#side-b .pick")
    assert page.is_hidden("#side-a .pick")
    inside = "(node) => { const box = node.getBoundingClientRect(); return box.left >= 0 && box.right <= innerWidth }"
    for button in page.locator("button:visible").all():
        assert button.evaluate(inside), button.inner_text()


def test_ranks_that_differ_are_marked(new_page, server):
    page = new_page(server.url + "#click=N1000&click=N1004&click=N1009")
    settle(page)
    lists = [
        server.world.recommend({"history": ["N1000", "N1004", "N1009"], "k": 10, "model": name}) for name in MODELS
    ]
    a, b = ([row["id"] for row in answer["articles"]] for answer in lists)
    marks = page.locator("#side-a .mark")
    for rank, news_id in enumerate(a):
        said = marks.nth(rank).text_content()
        if news_id not in b:
            assert said == "only in A"
        elif b.index(news_id) == rank:
            assert said == "=same rank"
        else:
            by = b.index(news_id) - rank
            places = f"{abs(by)} place{'s' * (abs(by) > 1)}"
            assert said == f"{'▲' if by > 0 else '▼'} {abs(by)}{places} {'higher' if by > 0 else 'lower'} than in B"
    assert page.inner_text("#difference").startswith(f"{len(set(a) & set(b))} in both lists")
    assert page.locator("#slopes path").count() == len(set(a) & set(b))


def test_limits_are_sent_and_an_empty_list_says_so(new_page, server):
    page = new_page(server.url)
    settle(page)
    page.select_option("#side-b [name=category]", "music")
    page.select_option("#side-b [name=age]", "86400")
    settle(page)
    assert set(page.locator("#side-b .picks .cat").all_inner_texts()) <= {"music"}
    body = [body for path, body in server.asked if path == "/v1/recommend"][-1]
    assert body["max_age"] == 86400
    assert body["where"] == {"category": "music"}
    page.select_option("#side-b [name=age]", "3600")
    settle(page)
    assert "No article is within these limits" in page.inner_text("#side-b")


def test_search_takes_words_and_a_category(new_page, server):
    page = new_page(server.url)
    page.fill("#words", "questions")
    page.select_option("#category", "travel")
    settle(page)
    assert set(page.locator("#results .cat").all_inner_texts()) == {"travel"}
    assert all("questions" in title for title in page.locator("#results .title").all_inner_texts())
    page.fill("#words", "no such word")
    page.wait_for_selector("text=No title has these words")


def test_a_shared_link_names_what_it_holds(new_page, server):
    page = new_page(server.url + "#click=gone%2C1&click=N1042&click=N1299")
    settle(page)
    wait_for_count(page, "#history .cat", 2)
    assert history(page) == [server.world.articles["N1299"]["title"], MARKUP, "gone,1"]
    assert "not known here" in page.inner_text("#history")


def test_what_the_server_sends_is_text(new_page, server):
    page = new_page(server.url + "#click=N1042&why=N1042")
    page.fill("#words", "markup")
    settle(page)
    page.wait_for_selector("#why .facts")
    assert page.inner_text("#why .big") == page.inner_text("#results .title") == MARKUP
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.broken") is None


def test_problems_are_shown_and_tried_again(new_page, server):
    server.problem = ("/v1/recommend", 422, "k is 0; ask for 1 to 500 articles.")
    page = new_page(server.url, quiet=True)
    page.wait_for_selector("#side-b .error")
    assert "422 k is 0; ask for 1 to 500 articles." in page.inner_text("#side-a .error")
    server.problem = None
    page.click("#side-a .error button")
    settle(page)
    assert page.locator(".error").count() == 0
    server.problem = ("/v1/explain", 503, "Too many requests are waiting; try again in a second.")
    page.locator("#side-a .pick").first.click()
    page.wait_for_selector("#why .error")
    assert "Too many requests" in page.inner_text("#why")


def test_a_server_that_is_gone(new_page, server):
    page = new_page(server.url, quiet=True)
    settle(page)
    page.context.set_offline(True)
    page.locator("#results .result").first.click()
    page.wait_for_selector("#side-a .error")
    assert "does not answer" in page.inner_text("#side-a .error")


def test_the_token_is_asked_for_and_kept_for_the_tab(new_page, server):
    server.token = "a b"
    page = new_page(server.url, quiet=True)
    page.wait_for_selector("dialog[open]")
    assert "Send the token" in page.inner_text("dialog")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Enter the token").first.click()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert page.is_visible("dialog")
    page.keyboard.type("a b")
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator(".error").count() == 0
    page.reload()
    settle(page)
    assert not page.is_visible("dialog")
    page.locator("#side-a summary").click()
    assert "Bearer $TOKEN" in page.inner_text("#side-a pre")


def test_the_request_as_curl_and_the_answer_as_json(new_page, server):
    page = new_page(server.url + "#click=it's&click=N1000")
    settle(page)
    page.locator("#side-a summary").click()
    curl = page.inner_text("#side-a pre")
    assert curl.startswith(f"curl '{server.url}v1/recommend'")
    assert """{"history":["it'\\''s","N1000"],"k":10,"model":"miner-3f2a91c0"}""" in curl
    with page.expect_popup() as popup:
        page.locator("#side-a .request a").click()
    shown = json.loads(popup.value.inner_text("body"))
    assert shown["articles"] == json.loads(
        json.dumps(server.world.recommend({"history": ["N1000"], "k": 10, "model": "miner-3f2a91c0"})["articles"])
    )


def test_the_map_shows_titles_and_explains(new_page, server):
    page = new_page(server.url + "#click=N1000&click=N1004")
    settle(page)
    page.locator("#chart").scroll_into_view_if_needed()
    ring = page.locator("#chart .ring").first.bounding_box()
    page.mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    assert re.search(r"\(click [12], \w+\)$", page.inner_text("#tip"))
    page.locator("#legend button", has_text="travel").click()
    page.wait_for_selector("#chart .dim")
    page.locator("#chart").focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    title = page.inner_text("#tip").rpartition(" (")[0]
    page.keyboard.press("Enter")
    page.wait_for_selector("#why .facts")
    assert page.inner_text("#why .big") == title


def test_of_several_quick_changes_the_last_is_shown(new_page, server):
    page = new_page(server.url)
    settle(page)
    for place in range(6):
        page.locator("#results .result").nth(place).click()
    settle(page)
    recommended = [body for path, body in server.asked if path == "/v1/recommend"]
    assert len(recommended) <= 8
    assert len(recommended[-1]["history"]) == 6
    expected = server.world.recommend(recommended[-1])["articles"][0]["title"]
    assert expected in page.locator(".picks li:first-child .title").all_inner_texts()


@pytest.mark.parametrize("width", [1440, 390])
def test_a_policy_says_what_it_moved_and_why_an_article_is_missing(new_page, server, width):
    server.policies = [{"name": "front", "title": "Front page", "share": 0.0, "rerank": "mmr", "dial": 0.5}]
    page = new_page(server.url + "#click=N1000&click=N1004&side=b", width)
    settle(page)
    assert page.is_disabled("#side-b [name=dial]")
    page.select_option("#side-b [name=policy]", "front")
    settle(page)
    assert page.locator("#side-b .answer").inner_text().count("no weather") >= 1
    assert "Not kept: near (by 2, for candidates)." in page.inner_text("#side-b")
    assert "Dial, mmr: 0.5" in page.inner_text("#side-b form")
    page.locator("#side-b [name=dial]").fill("1")
    settle(page)
    bodies = [body for path, body in server.asked if path == "/v1/recommend" and "policy" in body]
    assert (bodies[0].get("dial"), bodies[-1]["dial"]) == (None, 1)
    # An article that is looked for, and is not there; then it is pinned.
    page.fill("#words", "lake snow")
    page.wait_for_timeout(400)
    settle(page)
    title = page.locator("#results .title").first.inner_text()
    page.locator("#results .icon").first.click()
    page.wait_for_selector("#why .facts")
    assert page.inner_text("#why .big") == title
    page.wait_for_selector("text=Not in B: weather has its 0 places.")
    page.focus("#why select")
    page.select_option("#why select", "2")
    settle(page)
    assert page.evaluate("document.activeElement.matches('#why select')")
    assert page.locator("#side-b .pick .title").nth(1).inner_text() == title
    assert "place 2 by the rule" in page.inner_text("#why")
    assert overflow(page) <= 0
    page.reload()
    settle(page)
    assert page.locator("#side-b .pick .title").nth(1).inner_text() == title
    page.select_option("#why select", "0")
    settle(page)
    assert title not in page.locator("#side-b .pick .title").all_inner_texts()
    assert "pin=" not in page.url
