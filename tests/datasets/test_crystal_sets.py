"""Sets of crystals: what is read from tables, what is reported, what is kept."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graphattn.datasets import crystal_tables
from graphattn.datasets.crystal_files import crystal_from_dictionary
from graphattn.datasets.crystal_sets import (
    CrystalSet,
    collect,
    find_table,
    hashed_fold,
    kept,
    read_table,
)
from graphattn.datasets.crystal_tables import carbon24, elastic, flla, perov5, piezo
from graphattn.datasets.crystals import Crystal, Quantity

NUM_ROWS = 30  # of long tables: reading all takes seconds
# Folder, table, its line of comment or none, loader, targets with units.
TABLES: dict[str, tuple[str, str, Callable[[], CrystalSet], dict[str, str]]] = {
    "flla": (
        "crystal_flla",
        "flla_2015.csv",
        flla,
        {"formation_energy_per_atom": "eV/atom", "e_above_hull": "eV/atom"},
    ),
    "elastic": (
        "crystal_elastic",
        "elastic_tensor.csv",
        elastic,
        {"K_VRH": "GPa", "G_VRH": "GPa", "poisson_ratio": "1", "elastic_anisotropy": "1"},
    ),
    "piezo": ("crystal_piezo", "piezoelectric_tensor.csv", piezo, {"eij_max": "C/m^2"}),
    "perov5": (
        "crystal_perov5",
        "test.csv",
        lambda: perov5("test"),
        {"heat_ref": "eV", "heat_all": "eV", "dir_gap": "eV", "ind_gap": "eV"},
    ),
    "carbon24": (
        "crystal_carbon24",
        "val.csv",
        lambda: carbon24("val"),
        {"energy_per_atom": "eV/atom"},
    ),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an empty data folder beside it."""
    (tmp_path / "tree").mkdir()
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path / "tree"))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def shortened(source: Path, path: Path, num_rows: int = NUM_ROWS) -> Path:
    """Writes the first rows of a table, as they stand there."""
    text = io.StringIO(gzip.decompress(source.read_bytes()).decode(), newline="")
    comment = ""
    if text.read(1) == "#":
        comment = "#" + text.readline()
    else:
        text.seek(0)
    rows = csv.reader(text)
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        file.write(comment)
        csv.writer(file).writerows(row for row, _ in zip(rows, range(num_rows + 1), strict=False))
    return path


@pytest.mark.parametrize("name", TABLES)
def test_a_table_gives_the_crystals_that_others_read_from_it(
    name: str, data_folder: Path, cache: Path
) -> None:
    folder, file, load, units = TABLES[name]
    source = data_folder / folder / f"{file}.gz"
    if not source.is_file():
        pytest.skip(f"no {source}")
    shortened(source, cache.parent / "tree" / folder / file)
    found = load()
    assert (len(found), found.unread) == (NUM_ROWS, [])
    with np.load(data_folder / folder / "crystals.npz") as stored:
        row_of = {record: row for row, record in enumerate(stored["id"].tolist())}
        for crystal in found.crystals:
            row = row_of[crystal.name]
            atoms = slice(stored["offset"][row], stored["offset"][row + 1])
            assert crystal.numbers.tolist() == stored["number"][atoms].tolist()
            # Files tell shapes of cells, not how they are turned in space.
            metric = stored["lattice"][row] @ stored["lattice"][row].T
            ours = crystal.lattice @ crystal.lattice.T
            torch.testing.assert_close(ours, torch.from_numpy(metric), rtol=1e-5, atol=1e-5)
            apart = crystal.fractional - torch.from_numpy(stored["frac"][atoms])
            assert float((apart - apart.round()).abs().max()) < 1e-6
            assert hashed_fold(crystal.name) == stored["fold"][row]
            assert {key: unit for key, (_, unit) in crystal.targets.items()} == units
            for target, (value, _) in crystal.targets.items():
                assert value == stored[target][row]


def test_a_set_comes_the_same_from_the_cache(
    data_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = data_folder / "crystal_perov5" / "val.csv.gz"
    if not source.is_file():
        pytest.skip(f"no {source}")
    table = shortened(source, cache.parent / "tree" / "crystal_perov5" / "val.csv", 3)
    first = perov5("val")
    assert len(list(cache.rglob("perov5-val-*.pt"))) == 1
    assert [path.name for path in table.parent.iterdir()] == ["val.csv"]
    with monkeypatch.context() as blocked:
        blocked.setattr(crystal_tables, "collect", lambda records: pytest.fail("read again"))
        again = perov5("val")
    for ours, theirs in zip(first.crystals, again.crystals, strict=True):
        assert (ours.name, dict(ours.targets)) == (theirs.name, dict(theirs.targets))
        for field in ("numbers", "fractional", "lattice"):
            assert torch.equal(getattr(ours, field), getattr(theirs, field))
    table.write_text(
        table.read_text().replace(",heat_all,", ",heat,").replace("heat_ref", "heat_all")
    )
    with pytest.raises(KeyError, match="heat_ref"):  # another table is read anew
        perov5("val")


def crystal(name: str, *, edge: float = 3.0) -> Crystal:
    record = {"numbers": [26], "fractional": [[0, 0, 0]], "lattice": np.diag([edge] * 3)}
    return crystal_from_dictionary(record, name=name, targets={"energy": Quantity(edge, "eV")})


def test_refused_rows_are_reported_and_the_rest_kept(cache: Path) -> None:
    edges = [3.0, 0.0, 4.0, float("inf"), 5.0]
    source = cache.parent / "source"
    source.write_text("of all")

    def make() -> CrystalSet:
        return collect(
            (f"row {row}", lambda row=row, edge=edge: crystal(f"row {row}", edge=edge))
            for row, edge in enumerate(edges)
        )

    for _ in range(2):  # read, then from the cache
        found = kept("some", [source], make)
        assert [one.name for one in found.crystals] == ["row 0", "row 2", "row 4"]
        assert found.rows.tolist() == [0, 2, 4]
        assert [(row, name) for row, name, _ in found.unread] == [(1, "row 1"), (3, "row 3")]
        assert found.unread[0].reason.startswith("row 1: lattice must not be singular")
        assert found.unread[1].reason.startswith("row 3: lattice must be finite")
        assert found.places([4, 3, 2, 1]).tolist() == [2, 1]
        part = found.subset(found.places(torch.tensor([4, 0])))
        assert [one.name for one in part.crystals] == ["row 4", "row 0"]
        assert part.rows.tolist() == [4, 0]


def test_a_set_of_nothing_but_refused_rows_is_kept(cache: Path) -> None:
    source = cache.parent / "source"
    source.write_text("of nothing")
    for _ in range(2):
        found = kept("bad", [source], lambda: collect([("flat", lambda: crystal("flat", edge=0))]))
        assert (len(found), len(found.rows), len(found.unread)) == (0, 0, 1)


def test_a_table_may_have_a_comment_and_a_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text('# of, someone\nname,value\n0,"a\nb",1\n1,c,2\n\n')
    expected = [{"name": "a\nb", "value": "1"}, {"name": "c", "value": "2"}]
    assert read_table(tmp_path / "table.csv") == expected
    packed = tmp_path / "table.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "table.csv").read_bytes()))
    assert read_table(packed) == expected


def test_a_packed_table_of_the_data_folder_is_found(cache: Path) -> None:
    packed = cache.parent / "tree" / "table.csv.gz"
    packed.write_bytes(gzip.compress(b"name\n"))
    assert find_table("table.csv", "http://127.0.0.1:9", None) == packed


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (lambda: flla(), "crystal_flla/flla_2015.csv"),
        (lambda: perov5("train"), "crystal_perov5/train.csv"),
        (lambda: carbon24("train"), "crystal_carbon24/train.csv"),
    ],
)
def test_without_files_the_error_says_what_to_put_where(
    load: Callable[[], CrystalSet], file: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = {
        name: table._replace(address="http://127.0.0.1:9")
        for name, table in crystal_tables.MATMINER_TABLES.items()
    }
    monkeypatch.setattr(crystal_tables, "MATMINER_TABLES", nowhere)
    monkeypatch.setattr(crystal_tables, "CDVAE", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=f"put it at {cache / file}"):
        load()


def test_an_unknown_part_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"part must be one of \['test', 'train', 'val'\], got"):
        perov5("valid")  # type: ignore[arg-type]
