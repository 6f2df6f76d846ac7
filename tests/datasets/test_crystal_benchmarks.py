"""Benchmarks on crystals: targets, units and parts."""

import pytest

from graphattn.datasets.crystal_benchmarks import CRYSTAL_BENCHMARKS, crystal_benchmark
from graphattn.datasets.crystal_sets import hashed_fold
from graphattn.datasets.files import data_folder


def needs(path: str) -> None:
    folder = data_folder()
    if folder is None or not (folder / path).exists():
        pytest.skip(f"{path} is not in the folder that GRAPHATTN_DATA names")


def test_five_official_folds_and_a_tenth_held_out() -> None:
    needs("crystal_phonons")
    pytest.importorskip("ase")
    benchmark = crystal_benchmark("phonons")
    assert (benchmark.target, benchmark.unit) == ("last phdos peak", "1/cm")
    tested: list[str] = []
    for fold in benchmark.folds:
        parts = [{own.name for own in part} for part in (fold.train, fold.validation, fold.test)]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 1265
        assert len(parts[1]) == pytest.approx(101, abs=1)
        tested += parts[2]
    assert len(tested) == len(set(tested)) == 1265
    again = crystal_benchmark("phonons").folds[3]
    assert [own.name for own in again.train] == [own.name for own in benchmark.folds[3].train]


def test_the_split_by_names() -> None:
    needs("crystal_flla")
    benchmark = crystal_benchmark("flla")
    assert (benchmark.target, benchmark.unit) == ("formation_energy_per_atom", "eV/atom")
    (fold,) = benchmark.folds
    assert len(fold.train) + len(fold.validation) + len(fold.test) == 3938
    assert {hashed_fold(own.name) for own in fold.test} == {9}
    assert {hashed_fold(own.name) for own in fold.validation} == {8}
    assert set(fold.train[0].targets) == {benchmark.target}


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"name must be one of flla, jdft2d, phonons.*got 'phonon'"
    ):
        crystal_benchmark("phonon")
    assert len(set(CRYSTAL_BENCHMARKS)) == 16
