"""JARVIS-DFT and the Materials Project: what is read, and the splits."""

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphattn.datasets import jarvis as module
from graphattn.datasets.crystal_sets import CrystalSplit
from graphattn.datasets.jarvis import jarvis_dft, jarvis_superconductors, materials_project

NUM_ENTRIES = 47


def test_superconductors_are_in_the_split_of_the_leaderboard(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_folder / "crystal_jarvis" / "crystals.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    split = jarvis_superconductors()
    assert [len(part) for part in split] == [556, 30, 30]
    with np.load(path) as stored:
        row_of = {name: row for row, name in enumerate(stored["id"].tolist())}
        for part, name in zip(split, ("train", "val", "test"), strict=True):
            assert part.unread == []
            rows = [row_of[crystal.name] for crystal in part.crystals]
            assert set(stored["split_tc"][rows].tolist()) == {name}
            for row, crystal in zip(rows, part.crystals, strict=True):
                atoms = slice(stored["offset"][row], stored["offset"][row + 1])
                assert crystal.numbers.tolist() == stored["number"][atoms].tolist()
                assert crystal.lattice.tolist() == stored["lattice"][row].tolist()
                assert crystal.targets["Tc_supercon"] == (stored["Tc_supercon"][row], "K")


def entries(name: str, target: str) -> list[dict[str, Any]]:
    """A release in small: every seventh value is unknown, the sixth crystal is flat."""
    return [
        {
            name: f"{name}-{row}",
            "atoms": {
                "lattice_mat": np.diag([3.0, 3.0, 0.0 if row == 5 else 3.0 + row]).tolist(),
                "coords": [[0, 0, 0], [1.5, 1.5, 1.5]],
                "elements": ["Ga", "As"],
                "cartesian": True,
            },
            target: "na" if row % 7 == 0 else row / 8,
        }
        for row in range(NUM_ENTRIES)
    ]


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where releases are downloaded from, in place of the network; nothing else is at hand."""
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "FIGSHARE", tmp_path.as_uri())
    monkeypatch.setattr(module, "LEADERBOARD", (tmp_path / "none").as_uri())
    monkeypatch.setattr(module, "MEGNET_PARTS", (4, 3))
    return tmp_path


def release(path: Path, content: list[dict[str, Any]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("release-3-22-2021.json", json.dumps(content))


def published_order(num_rows: int) -> list[int]:
    """As the code of the transformers has it."""
    state = random.getstate()
    random.seed(123)
    rows = list(range(num_rows))
    random.shuffle(rows)
    random.setstate(state)
    return rows


def names(split: CrystalSplit) -> list[list[str]]:
    return [[crystal.name for crystal in part.crystals] for part in split]


def test_jarvis_dft_is_split_into_tenths_of_what_is_known(releases: Path) -> None:
    release(releases / "29204826", entries("jid", "mbj_bandgap"))
    split = jarvis_dft("mbj_bandgap")
    known = [row for row in range(NUM_ENTRIES) if row % 7]  # 40 of them
    flat = known.index(5)
    order = published_order(len(known))
    parts = (order[:-8], order[-8:-4], order[-4:])
    expected = [[f"jid-{known[place]}" for place in part if place != flat] for part in parts]
    assert names(split) == expected
    assert [(row, name) for row, name, _ in split.test.unread] == [(flat, "jid-5")]
    crystal = split.train.crystals[0]
    assert crystal.formula == "Ga1 As1"
    assert crystal.targets["mbj_bandgap"] == (int(crystal.name.removeprefix("jid-")) / 8, "eV")
    assert crystal.position[1].tolist() == pytest.approx([1.5, 1.5, 1.5])
    downloaded = releases / "cache" / "crystal_jarvis" / "jdft_3d-8-18-2021.json.zip"
    assert downloaded.is_file()


def test_the_materials_project_is_split_as_for_megnet(releases: Path) -> None:
    release(releases / "26724977", entries("id", "gap pbe"))
    train, validation, test = names(materials_project("gap pbe"))
    known = [row for row in range(NUM_ENTRIES) if row % 7]
    order = published_order(len(known))
    assert test == [f"id-{known[place]}" for place in order[-3:]]
    assert validation == [f"id-{known[place]}" for place in order[-7:-3]]
    assert len(train) + len(validation) + len(test) == len(known) - 1


def test_bad_releases_are_named(releases: Path) -> None:
    release(releases / "26724977", entries("id", "e_form")[:8])
    with pytest.raises(ValueError, match="6 crystals are too few"):
        materials_project("e_form")
    (releases / "29204826").write_text("<html>")
    with pytest.raises(ValueError, match=r"jdft_3d-8-18-2021\.json\.zip must be a zip archive"):
        jarvis_dft("ehull")


def test_unknown_targets_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"target must be one of \['ehull', 'formation.*'gap'"):
        jarvis_dft("gap")
    with pytest.raises(ValueError, match=r"target must be one of \['e_form', 'gap pbe'\]"):
        materials_project("bulk modulus")


def test_without_files_the_error_says_what_to_put_where(releases: Path) -> None:
    folder = releases / "cache" / "crystal_jarvis"
    with pytest.raises(FileNotFoundError, match=f"put it at {folder}/jdft_3d-8-18-2021"):
        jarvis_dft("ehull")
    with pytest.raises(FileNotFoundError, match=f"put it at {folder}/dft_3d_Tc_supercon"):
        jarvis_superconductors()
