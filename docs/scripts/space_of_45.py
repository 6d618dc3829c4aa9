"""Pictures of a space of 45 models whose scores are synthetic: what the figures look like at that scale.

Run: python docs/scripts/space_of_45.py [folder]   (docs/img where none is given)
"""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests' maker of results is no part of the package

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from nfas_lightning import NFAS
from nfas_lightning.plotting import draw_figures, save_figure, write_report
from tests.helpers.results import make_zoo

SHOWN = (
    "space", "mds", "networks", "sizes", "families", "stability", "snci", "map_anova", "map_snci",
    "map_convergence",
)  # fmt: skip


def main(folder: Path) -> None:
    """Draw the figures that the gallery shows, under the names that a report gives them."""
    results = make_zoo(n_rois=300)
    statistics = NFAS.from_scores(results).statistics()
    for name, _, draw in draw_figures(results, statistics, simulated=True):
        if name in SHOWN:
            print(save_figure(draw(), folder / f"zoo_{name}.png", dpi=100))
    with TemporaryDirectory() as place:
        print(_picture(write_report(place, results, statistics, formats=()), folder / "report.png"))


def _picture(page: Path, path: Path) -> Path:
    """Take a picture of the top of a report; needs Chromium and its driver."""
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "hide-scrollbars", "window-size=1320,1400"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    try:
        driver.get(page.resolve().as_uri())
        WebDriverWait(driver, 60).until(
            lambda browser: browser.execute_script("return document.body.dataset.drawn")
        )
        driver.save_screenshot(str(path))
    finally:
        driver.quit()
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "img")
