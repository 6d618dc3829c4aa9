"""report.html of 45 models as a reader uses it: in headless Chromium, without a network."""

import json
import shutil
from dataclasses import replace

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from nfas_lightning.plotting import write_report
from nfas_lightning.plotting.score_tables import feature_scores
from nfas_lightning.space import NFAS
from tests.helpers.results import make_draws, make_results, make_statistics, make_zoo

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs a browser and its driver: apt-get install chromium chromium-driver",
)
EVIL = "<img src=x onerror='window.harmed = true'>"  # a model's name that must stay a name


@pytest.fixture(scope="module")
def results():
    made = make_zoo(n_rois=300)
    tables = (made.scores, made.spectra, made.depth, made.models)
    named = [table.assign(model=table["model"].replace("gpt2", EVIL)) for table in tables]
    made = replace(made, **dict(zip(("scores", "spectra", "depth", "models"), named, strict=True)))
    stable = feature_scores(made.scores).query("modality == 'audio'")
    draws = make_draws(stable.groupby("model")["r"].mean().to_dict()).assign(modality="audio")
    return replace(made, draws=draws)


@pytest.fixture(scope="module")
def path(results, tmp_path_factory):
    statistics = NFAS.from_scores(results).statistics(n_permutations=9, stability=False)
    return write_report(tmp_path_factory.mktemp("zoo"), results, statistics, formats=())


@pytest.fixture(scope="module")
def browser(path):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    flags = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "enable-unsafe-swiftshader")
    for flag in (*flags, "window-size=1300,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        driver.get(path.as_uri())
        _wait(
            driver,
            "return document.body.dataset.drawn === 'yes' || !document.getElementById('failed').hidden",
        )
        yield driver
    finally:
        driver.quit()


def _wait(driver, script):
    return WebDriverWait(driver, 30).until(lambda browser: browser.execute_script(script))


def _rows(driver, table="board"):
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    return driver.execute_script(f"return {rows}.map((r) => [...r.cells].map((c) => c.innerText.trim()))")


def _text(driver, id_):
    return driver.find_element(By.ID, id_).text


def _head(driver, name):
    heads = driver.find_elements(By.CSS_SELECTOR, "#board thead button")
    return next(head for head in heads if head.text.startswith(name))


def test_it_opens_soon_and_is_small(browser, path):
    assert path.stat().st_size < 8e6
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    seconds = {metric["name"]: metric["value"] for metric in metrics}
    assert seconds["ScriptDuration"] < 3  # of the processor; about one where nothing else runs


def test_the_leaderboard_is_ranked_by_the_mean_score(browser, results):
    means = feature_scores(results.scores).groupby("model")["r2"].mean().sort_values(ascending=False)
    rows = _rows(browser)
    assert [row[0].split(". ", 1)[1] for row in rows] == means.index.tolist()
    assert rows[0][1] == f"{means.iloc[0]:.3f}"
    assert _text(browser, "model-name") == means.index[0]
    assert _text(browser, "count") == "45 of 45 models"


def test_names_stay_names(browser):
    assert EVIL in [row[0].split(". ", 1)[1] for row in _rows(browser)]
    assert not browser.find_elements(By.TAG_NAME, "img")
    assert not browser.execute_script("return window.harmed")


def test_a_pointer_finds_name_family_and_size(browser, results):
    dots = browser.find_elements(By.CSS_SELECTOR, "#space .scatterlayer .trace .point")
    assert len(dots) == 46  # each model, and the ring of the chosen one
    ActionChains(browser).move_to_element(dots[7]).perform()
    _wait(browser, "return document.querySelector('#space .hovertext') !== null")
    told = browser.find_element(By.CSS_SELECTOR, "#space .hovertext").text
    model = results.models[results.models["model"].map(lambda name: name in told)].iloc[0]
    assert f"family {model['family']}" in told
    assert "parameters" in told


def test_a_click_on_a_point_shows_its_model(browser, results):
    dots = browser.find_elements(By.CSS_SELECTOR, "#space .scatterlayer .trace .point")
    ActionChains(browser).move_to_element(dots[2]).click().perform()
    _wait(browser, "return document.querySelector('#board tr[aria-selected=true]').rowIndex > 1")
    name = _text(browser, "model-name")
    assert _text(browser, "said").startswith(name)
    assert results.models.set_index("model").loc[name, "license"] in _text(browser, "card")
    chosen = browser.find_elements(By.CSS_SELECTOR, "#board tr[aria-selected='true']")
    assert [row.text.split(". ")[1].split()[0] for row in chosen] == [name]
    for chart in ("spectrum", "depth", "features"):
        assert browser.find_elements(By.CSS_SELECTOR, f"#{chart} .scatterlayer .trace")
        assert name in browser.find_element(By.ID, chart).get_attribute("aria-label")


def test_the_keyboard_chooses_sorts_and_turns(browser):
    head = _head(browser, "mean r²")
    head.send_keys(Keys.ENTER)
    first = browser.find_element(By.CSS_SELECTOR, "#board tbody button")
    assert _rows(browser)[0][0].startswith("45. ")
    assert _head(browser, "mean r²").find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    first.send_keys(Keys.SPACE)
    name = _rows(browser)[0][0].split(". ", 1)[1]
    assert _text(browser, "model-name") == name
    held = browser.switch_to.active_element  # its row was made anew
    assert (held.text, held.get_attribute("aria-pressed")) == (name, "true")
    _head(browser, "model").send_keys(Keys.ENTER)
    names = [row[0].split(". ", 1)[1] for row in _rows(browser)]
    assert names[1:] == sorted(names[1:], key=str.lower)
    _head(browser, "mean r²").send_keys(Keys.ENTER)
    assert _rows(browser)[0][0].startswith("1. ")


def test_the_filter_keeps_rows_and_fades_points(browser):
    field = browser.find_element(By.ID, "filter")
    field.send_keys("whisper audio")
    kept = {row[0].split(". ")[1] for row in _rows(browser)}
    assert kept == {"whisper_base", "whisper_small", "whisper_tiny"}
    opacity = "document.getElementById('space').data.flatMap((t) => t.marker.opacity ?? [])"
    assert browser.execute_script(f"return {opacity}.filter((o) => o < 1).length") == 42
    count = browser.find_element(By.ID, "count")
    assert (count.aria_role, count.text) == ("status", "3 of 45 models")
    field.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    assert len(_rows(browser)) == 45


# what the keyboard is on: which control, and whether it is seen, with a ring around it
HELD = """
const node = document.activeElement, box = node.getBoundingClientRect(), look = getComputedStyle(node);
const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
const isControl = node.matches("a, button, select, input, summary");
return [window.controls.indexOf(node), !isControl || node.contains(top),
        look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0];
"""
CONTROLS = """
const all = [...document.querySelectorAll("a[href], button, select, input, summary, [tabindex]")];
window.controls = all.filter((node) => node.getClientRects().length);
return window.controls.length;
"""


def _press(driver, *keys):
    ActionChains(driver).send_keys(*keys).perform()
    return driver.execute_script(HELD)


def test_the_keyboard_sees_what_it_is_on_behind_the_head_of_a_table(browser):
    browser.execute_script(CONTROLS)
    rows = browser.find_elements(By.CSS_SELECTOR, "#board tbody button")
    browser.execute_script("arguments[0].focus()", rows[30])
    back = ActionChains(browser).key_down(Keys.SHIFT)
    back.send_keys(Keys.TAB * 29).key_up(Keys.SHIFT).perform()
    assert browser.switch_to.active_element == rows[1]
    assert browser.execute_script(HELD)[1:] == [True, True]


def test_every_control_is_reached_by_tab_seen_and_named(browser, tmp_path):
    """On a page of few models: the keys would be many."""
    few = make_results(("vision", "audio"), n_models=3, n_rois=5)
    path = write_report(tmp_path, few, make_statistics(few), formats=())
    own = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        browser.get(path.as_uri())
        _wait(browser, "return document.body.dataset.drawn === 'yes'")
        browser.execute_script("for (const node of document.querySelectorAll('details')) node.open = true")
        n_controls = browser.execute_script(CONTROLS)
        assert n_controls > 40
        met = [_press(browser, Keys.TAB) for _ in range(n_controls)]
        assert [place for place, *_ in met] == list(range(n_controls))
        names = browser.execute_script("return window.controls.map((node) => node.outerHTML.slice(0, 200))")
        assert [names[place] for place, is_seen, has_ring in met if not (is_seen and has_ring)] == []
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        told = [(n["role"]["value"], n["name"]["value"].strip()) for n in nodes if not n["ignored"]]
        roles = ("link", "button", "combobox", "searchbox", "DisclosureTriangle", "table", "image")
        assert set(roles) <= {role for role, _ in told}
        assert [role for role, name in told if role in roles and not name] == []
    finally:
        browser.close()
        browser.switch_to.window(own)


def test_feature_score_statistic_and_space_are_chosen(browser, results):
    Select(browser.find_element(By.ID, "feature")).select_by_visible_text("all blocks")
    Select(browser.find_element(By.ID, "number")).select_by_value("partial")
    Select(browser.find_element(By.ID, "value")).select_by_value("r")
    best = results.scores.query("feature == 'all_blocks'").groupby("model")["r_partial"].mean()
    row = _rows(browser)[0]
    assert row[0] == f"1. {best.idxmax()}"
    assert row[1] == f"{best.max():.3f}"
    Select(browser.find_element(By.ID, "feature")).select_by_value("stable_mode")
    Select(browser.find_element(By.ID, "number")).select_by_value("alone")
    assert "95 % interval" in browser.find_element(By.CSS_SELECTOR, "#board thead").text
    own = next(row for row in _rows(browser) if "whisper_base" in row[0])
    low, high = map(float, own[2].split(" to "))
    assert low < float(own[1]) < high
    assert own[3].isalpha()
    assert "that share a letter" in _text(browser, "letters")
    assert "Positions only" in _text(browser, "space-note")
    before = browser.execute_script("return document.getElementById('space').data[0].x[0]")
    Select(browser.find_element(By.ID, "place")).select_by_value("pattern")
    assert browser.execute_script("return document.getElementById('space').data[0].x[0]") != before
    for name, value in (("feature", "stable_mode"), ("number", "alone"), ("value", "r2"), ("place", "level")):
        Select(browser.find_element(By.ID, name)).select_by_value(value)
    assert "tests of this page are of these places" in _text(browser, "space-note")


def test_the_brain_is_drawn_when_it_is_reached_and_regions_can_be_chosen(browser, results):
    browser.execute_script("document.getElementById('regions').scrollIntoView()")
    _wait(browser, "return document.querySelector('#brain canvas') !== null")
    colors = "return JSON.stringify(document.getElementById('brain').data[0].vertexcolor)"
    before = browser.execute_script(colors)
    assert len(set(json.loads(before))) > 20
    region = _rows(browser, "roi-table")[3][0]
    browser.find_elements(By.CSS_SELECTOR, "#roi-table tbody button")[3].send_keys(Keys.ENTER)
    assert _text(browser, "region-name").startswith(f"All models at {region}")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#region .point")) == 45
    Select(browser.find_element(By.ID, "map")).select_by_visible_text("SNCI of audio, bounded")
    assert browser.execute_script(colors) != before
    assert "no region" in _text(browser, "legend")
    turn = next(
        b for b in browser.find_elements(By.CSS_SELECTOR, "#views button") if b.text == "left, medial"
    )
    turn.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.getElementById('brain').data.length") == 1


def test_tables_that_came_with_the_page_sort_and_filter(browser):
    table = browser.find_element(By.CSS_SELECTOR, "#baselines table.grid")
    cells = (
        "return [...arguments[0].tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[2].innerText)"
    )
    button = table.find_elements(By.CSS_SELECTOR, "thead button")[2]
    browser.execute_script("arguments[0].click()", button)
    values = [float(text) for text in browser.execute_script(cells, table) if text != "–"]
    assert values == sorted(values, reverse=True)
    field = browser.find_element(By.CSS_SELECTOR, "#baselines input[type='search']")
    field.send_keys("whisper_tiny")
    assert len(browser.execute_script(cells, table)) == 3  # alone, joint, partial
    assert field.accessible_name.startswith("Filter: ")
    counts = browser.find_elements(By.CSS_SELECTOR, "#baselines .filter [role='status']")
    n_rows = len(table.find_elements(By.CSS_SELECTOR, "tbody tr"))
    assert [count.text for count in counts if count.text] == [f"3 of {n_rows} rows"]


def test_charts_further_down_are_drawn_when_they_are_reached(browser):
    browser.execute_script("document.getElementById('agreement').scrollIntoView()")
    _wait(browser, "return document.querySelectorAll('#agreement .point').length > 20")
    assert browser.find_element(By.ID, "agreement-0").get_attribute("role") == "img"


def test_dark_and_light(browser):
    ink = "return document.getElementById('space').layout.font.color"
    before = browser.execute_script(ink)
    browser.execute_script("document.getElementById('look').click()")
    assert browser.execute_script(ink) != before
    page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, page.removeprefix("rgb(").removesuffix(")").split(", "))) < 150
    browser.execute_script("document.getElementById('look').click()")
    assert browser.execute_script(ink) == before


def test_a_phone_scrolls_down_only(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        _wait(browser, "return document.documentElement.scrollWidth <= 390")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_was_fetched_and_nothing_went_wrong(browser):
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
