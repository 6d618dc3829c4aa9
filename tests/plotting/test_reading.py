from dataclasses import replace

import pandas as pd

from nfas_lightning.plotting.reading import baseline_sentences, headline, reading
from nfas_lightning.space import NFAS
from tests.helpers.results import make_statistics


def test_the_reading_follows_the_tests(results):
    base = make_statistics(results)

    def said(**changes):
        return " ".join(reading(replace(base, **changes)))

    assert "more than random relabeling" in said()
    assert "do not group" in said(permanova={"statistic": 1.0, "p_value": 0.4})
    assert "differ in spread" in said(permdisp={"statistic": 9.0, "p_value": 0.01})
    assert "hardly separated" in said(silhouette={"statistic": 0.1, "p_value": 0.2})


def test_design_and_untrained_twins_stand_beside_the_clusters(results):
    statistics = NFAS.from_scores(results).statistics(n_permutations=99)
    words = " ".join(reading(statistics))
    f, width = statistics.controls.set_index("statistic")["untrained"][["permanova", "silhouette"]]
    assert f"Untrained twins of the same networks reach pseudo-F {f:.2f} (trained" in words
    assert f"mean silhouette {width:.2f} (trained" in words
    assert statistics.design_note in words
    assert "groups confounded with benchmarks" in headline(statistics)
    fewer = statistics.controls.assign(n_models=3)
    assert f"covers the 3 of {len(statistics.coordinates)} models" in " ".join(
        reading(replace(statistics, controls=fewer))
    )
    for p_moved, is_common in ((0.4, True), (0.02, True), (0.01, False)):
        common = replace(statistics, permanova={**statistics.permanova, "p_moved": p_moved})
        words = " ".join(reading(common))
        assert ("No clusters: modalities sit no further apart than on moved responses" in words) is is_common
    crossed = replace(statistics, design="crossed")
    assert "with benchmarks" not in headline(crossed)


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
