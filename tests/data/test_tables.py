"""Tables that people write: no reader shifts a row that has more cells than the header."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nfas_lightning.data.event_tables import events_table
from nfas_lightning.data.regions.label_files import read_label_table
from nfas_lightning.data.stimuli.word_times import read_gentle
from nfas_lightning.data.tables import as_text, parse_csv, read_csv
from nfas_lightning.datamodules import FolderDataModule
from nfas_lightning.space.runs import add_columns

SHIFTED = "onset,text\n0.5,a cat, sitting\n1.5,a dog, running\n"


@pytest.mark.parametrize(
    "read",
    [
        parse_csv,
        lambda path: read_csv(path, ["text"]),
        events_table,
        read_label_table,
        lambda path: add_columns(None, path),
    ],
)
@pytest.mark.parametrize(
    "text", [SHIFTED, SHIFTED.replace("a cat, s", "a cat s"), "onset,text\n0,1,2\n1,3,4\n"]
)
def test_more_cells_than_the_header_are_refused(tmp_path, read, text):
    """pandas takes the first cells for an index, and every value stands under the next column's name."""
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"table\.csv must .*(more cells|in every row as many)"):
        read(path)


def test_a_separator_at_the_end_of_each_row_does_no_harm(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2,\n3,4,\n")
    assert parse_csv(path).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize("extra", ["a,1,1,2,9\n" * 2, "a,1,1,2\nb,1,3,4,9\n"])
def test_a_table_without_a_header_too(tmp_path, extra):
    path = tmp_path / "align.csv"
    path.write_text(extra)
    with pytest.raises(ValueError, match=r"align\.csv must "):
        read_gentle(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("texts.csv", "text\n" + "a cat, sitting\n" * 12),
        ("words.csv", "word,onset\n" + "".join(f"{i},well,{i}\n" for i in range(12))),
        ("events.csv", "onset,duration\n" + "".join(f"{i},{2 * i},1\n" for i in range(12))),
        ("rois.csv", "roi,network\n1,V1,a\n2,V2,b\n"),
        ("nuisances.csv", "a\n" + "1,2\n" * 12),
        ("volumes.csv", "time\n" + "0,1\n" * 12),
    ],
)
def test_every_table_of_a_folder(tmp_path, name, text):
    np.save(tmp_path / "responses.npy", np.random.default_rng(0).normal(size=(12, 2)))
    if name not in ("texts.csv", "words.csv"):
        pd.DataFrame({"text": list("abcdefghijkl")}).to_csv(tmp_path / "texts.csv", index=False)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name} must .*more cells"):
        FolderDataModule(str(tmp_path), tr=None if name == "rois.csv" else 2.0).setup()


def test_a_row_that_ends_early_has_no_text(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("onset,word\n0,so\n1\n")
    with pytest.raises(ValueError, match="'word' must hold text in every row, got nothing in row 2"):
        as_text(read_csv(path, ["word"]), "word", path)


def test_csv_keeps_words_that_look_missing_and_drops_the_byte_order_mark(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("word,onset\nnull,1\nNA,2\n", encoding="utf-8-sig")
    assert read_csv(path, ("word", "onset"))["word"].tolist() == ["null", "NA"]
    with pytest.raises(ValueError, match=r"missing \['offset'\]"):
        read_csv(path, ("word", "offset"))
    path.write_text("word;onset\nso;0\n")
    with pytest.raises(ValueError, match=r"words\.csv .*got \['word;onset'\]\. Does ',' stand between"):
        read_csv(path, ("word",))
    path.write_text("word,onset\n")
    with pytest.raises(ValueError, match="at least one row"):
        read_csv(path, ("word",))
