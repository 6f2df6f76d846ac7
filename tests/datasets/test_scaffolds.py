"""Scaffold splits: ring systems, the rule, and the official splits."""

import csv
import gzip
from pathlib import Path

import pytest
import torch

from graphattn.datasets.scaffolds import scaffold_split, scaffolds

pytest.importorskip("rdkit")


def test_a_scaffold_is_the_rings_and_what_links_them() -> None:
    found = scaffolds(["Cc1ccccc1", "OCC(c1ccccc1)C1CC1", "CCO", "CC(=O)c1ccccc1"])
    assert found == ["c1ccccc1", "c1ccc(CC2CC2)cc1", "", "c1ccccc1"]


def test_valences_that_are_refused_do_not_hide_a_scaffold() -> None:
    assert scaffolds(["Cc1ccc([B-2]2(c3ccc(C)cc3)=NCCO2)cc1", "O=CO[AlH3](OC=O)OC=O"]) == [
        "c1ccc([B-2]2(c3ccccc3)=NCCO2)cc1",
        "",
    ]


def test_what_cannot_be_read_has_none_and_is_left_out() -> None:
    found = scaffolds(["C1CC", "", "c1cccc1", "CCO"])
    assert found == [None, None, None, ""]
    assert torch.cat(scaffold_split(found)).tolist() == [3]


def test_large_groups_are_for_training_and_later_ones_first_among_equals() -> None:
    groups = ["b", "a", "a", "c", "a", "a", "a", "d", "b", "e"]  # five a, two b, one c, d, e each
    train, validation, test = scaffold_split(groups)
    assert train.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert (validation.tolist(), test.tolist()) == ([7], [3])


def test_a_group_too_large_for_training_is_passed_on() -> None:
    train, validation, test = scaffold_split(["a"] * 5 + ["b"] * 3 + ["c"] * 2, (0.4, 0.3))
    assert (train.tolist(), validation.tolist(), test.tolist()) == (
        [5, 6, 7],
        [0, 1, 2, 3, 4],
        [8, 9],
    )


def test_rows_may_come_one_by_one_but_not_as_one_text() -> None:
    assert scaffolds(iter(["C1CCCCC1O", "C"])) == ["C1CCCCC1", ""]
    with pytest.raises(TypeError, match="smiles must be a sequence of texts, got one text"):
        scaffolds("CCO")
    with pytest.raises(TypeError, match="smiles must be texts, got NoneType in row 0"):
        scaffolds([None])  # type: ignore[list-item]


def test_no_molecules_give_empty_parts() -> None:
    assert scaffolds([]) == []
    for part in scaffold_split([]):
        assert (part.dtype, part.tolist()) == (torch.int64, [])


@pytest.mark.parametrize("fractions", [(-0.1, 0.5), (0.8, 0.3)])
def test_shares_that_are_none_raise(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"fractions must be shares of at most one together, got"):
        scaffold_split(["a"], fractions)


@pytest.mark.parametrize("name", ["molesol", "molfreesolv"])
def test_the_rule_gives_the_official_split(data_folder: Path, name: str) -> None:
    folder = data_folder / "ogb" / f"ogbg_{name}"
    if not folder.is_dir():
        pytest.skip(f"no ogb/ogbg_{name} folder in {data_folder}")
    with gzip.open(folder / "mapping" / "mol.csv.gz", "rt") as file:
        found = scaffolds([row["smiles"] for row in csv.DictReader(file)])
    for part, rows in zip(("train", "valid", "test"), scaffold_split(found), strict=True):
        with gzip.open(folder / "split" / "scaffold" / f"{part}.csv.gz", "rt") as file:
            assert rows.tolist() == sorted(map(int, file.read().split()))
