"""Files of a folder whose content was not fetched, empty cells, and numbers beyond single precision."""

import numpy as np
import pandas as pd
import pytest
import torch

from nfas_lightning.data.tables import parse_csv
from nfas_lightning.datamodules import ArrayDataModule, FolderDataModule
from nfas_lightning.functional.ridge import ridge_cv

POINTER = "/annex/objects/SHA256E-s1234--0123456789abcdef.csv\n"
N = 6


def write_folder(root):
    """Six texts and everything that may be said about them."""
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    values = pd.DataFrame(rng.normal(size=(N, 2)), columns=["V1", "V2"])
    values.to_csv(root / "responses.csv", index=False)
    (root / "texts.csv").write_text("text\n" + "".join(f"a cat {i}\n" for i in range(N)))
    (root / "events.csv").write_text("onset\n" + "".join(f"{2 * i}\n" for i in range(N)))
    (root / "volumes.csv").write_text("run\n" + "a\n" * N)
    (root / "rois.csv").write_text("roi,x,y,z\nV1,0,0,0\nV2,1,1,1\n")
    pd.DataFrame({"motion": rng.normal(size=N)}).to_csv(root / "nuisances.csv", index=False)
    return root


def load(root, **options):
    return FolderDataModule(str(root), tr=2.0, event_rate=False, **options).load()


def test_the_folder_loads(tmp_path):
    assert load(write_folder(tmp_path))[1].values.shape == (1, N, 2)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("name", ["responses", "texts", "events", "volumes", "rois", "nuisances"])
def test_a_table_whose_content_was_not_fetched(tmp_path, name, link):
    path = write_folder(tmp_path) / f"{name}.csv"
    path.unlink()
    if link:
        path.symlink_to("../.git/annex/objects/aa/bb/SHA256E-s1/SHA256E-s1")
    else:
        path.write_text(POINTER)
    said = "link to its git-annex content" if link else "git-annex pointer"
    with pytest.raises(FileNotFoundError, match=rf"{name}\.csv must .*{said}.*datalad get"):
        load(tmp_path)


def test_arrays_and_words_too(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "responses.csv").unlink()
    (tmp_path / "responses.npy").write_text(POINTER)
    with pytest.raises(FileNotFoundError, match=r"responses\.npy must .*git-annex pointer"):
        load(tmp_path)
    (tmp_path / "responses.npy").unlink()
    (tmp_path / "responses").mkdir()
    (tmp_path / "responses" / "sub-01.csv").symlink_to("../.git/annex/objects/x")
    with pytest.raises(FileNotFoundError, match=r"sub-01\.csv must .*link to its git-annex content"):
        load(tmp_path)


def test_an_empty_cell_of_a_single_column_is_a_row(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "rois.csv").unlink()
    (tmp_path / "responses.csv").write_text("V1\n1.5\n\n2\n0.5\n1\n3\n\n\n")
    with pytest.warns(UserWarning, match="hold 1 NaN of 6 values"):
        values = load(tmp_path)[1].values
    np.testing.assert_array_equal(values.squeeze().numpy(), [1.5, np.nan, 2, 0.5, 1, 3])
    (tmp_path / "nuisances.csv").write_text("motion\n1\n2\n\n4\n5\n6\n")
    with pytest.raises(ValueError, match="'motion' must hold finite numbers, got nothing in row 3"):
        load(tmp_path)
    (tmp_path / "nuisances.csv").unlink()
    (tmp_path / "texts.csv").write_text("text\na\n\nb\nc\nd\ne\n")
    with pytest.raises(ValueError, match="'text' must hold text in every row, got nothing in row 2"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\n1\n\n3\n", [1, None, 3]),
        ("\n\na\n1\n\n3\n  \n\n", [1, None, 3]),
        ("\na\n1\n3\n\n", [1, 3]),
        ('a\n"x\n\ny"\nz\n\n', ["x\n\ny", "z"]),
        ("\ufeffa\r\n1\r\n\r\n3", [1, None, 3]),
        ("a\n\n1\n", [None, 1]),
    ],
)
def test_blank_lines_of_a_single_column(tmp_path, text, wanted):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    table = parse_csv(path)
    assert list(table) == ["a"]
    assert [None if pd.isna(value) else value for value in table["a"]] == wanted


def test_blank_lines_are_no_rows_of_several_columns(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n\n3,4\n\n")
    assert parse_csv(path).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_numbers_beyond_single_precision_are_named(tmp_path):
    write_folder(tmp_path)
    values = pd.read_csv(tmp_path / "responses.csv")
    values.loc[3, "V2"] = 1e300
    values.to_csv(tmp_path / "responses.csv", index=False)
    with pytest.raises(ValueError, match=r"'V2' must hold .*got '1e\+300' in row 4 .*3\.4e38.*rescale"):
        load(tmp_path)
    module = ArrayDataModule([f"a cat {i}" for i in range(N)], values.to_numpy(), modality="language")
    with pytest.raises(ValueError, match=r"1e\+300 in row 3 \(counted from 0\) of ROI .*rescale"):
        module.load()


@pytest.mark.parametrize("name", ["X", "Y"])
def test_values_whose_squares_overflow_are_refused(name):
    generator = torch.Generator().manual_seed(0)
    given = {"X": torch.randn(30, 3, generator=generator).double()}
    given["Y"] = given["X"] @ torch.randn(3, 2, generator=generator).double()
    wanted = ridge_cv(**given).r
    torch.testing.assert_close(ridge_cv(**{**given, name: 1e140 * given[name]}).r, wanted)
    given[name][4, 1] = -1e200
    with pytest.raises(ValueError, match=rf"{name} must lie within 1e\+150.*-1e\+200 in row 4 of column 1"):
        ridge_cv(**given)
