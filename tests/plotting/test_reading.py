from dataclasses import replace

import pandas as pd

from nfas_lightning.plotting.reading import baseline_sentences, reading
from tests.helpers.results import make_statistics


def test_the_reading_follows_the_tests(results):
    base = make_statistics(results)

    def said(**changes):
        return " ".join(reading(replace(base, **changes), simulated=False, datasets={}))

    assert "more than random relabeling" in said()
    assert "do not group" in said(permanova={"statistic": 1.0, "p_value": 0.4})
    assert "differ in spread" in said(permdisp={"statistic": 9.0, "p_value": 0.01})
    assert "hardly separated" in said(silhouette={"statistic": 0.1, "p_value": 0.2})
    own = {"audio": ["sounds"], "vision": ["scenes"]}
    assert "different benchmarks" in " ".join(reading(base, simulated=False, datasets=own))
    assert "different benchmarks" not in " ".join(
        reading(base, simulated=False, datasets={"a": ["x"], "b": ["x"]})
    )


def test_beaten_baselines_are_admitted():
    r = {
        ("x", "stable_mode"): 0.2,
        ("x", "last_block"): 0.3,
        ("y", "stable_mode"): 0.4,
        ("y", "last_block"): 0.1,
    }
    rows = [{"model": model, "feature": feature, "r": value} for (model, feature), value in r.items()]
    (sentence,) = baseline_sentences(
        pd.DataFrame(rows).assign(modality="audio", dataset="d", roi="a", subject="group")
    )
    assert sentence == "last block: the stable mode is higher in 1 of 2 models (mean difference in r +0.100)"
