"""The pictures of a GPS on molecules: it learns, is judged officially, and is drawn again as is."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch_geometric.data import Data

from graphattn.datasets.molecules import MoleculeBenchmark

pytest.importorskip("matplotlib")
pytest.importorskip("rdkit")
pytest.importorskip("ogb")

PICTURES = ["attention_by_distance", "attention_on_molecules", "learning_curves_molesol"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("molecule_pictures")


def chain(size: int) -> Data:
    """Carbon atoms in a row, of which as many tell the property."""
    ends = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
    return Data(
        x=torch.zeros(size, 9, dtype=torch.int64),
        edge_index=torch.cat([ends, ends.flip(0)], dim=1),
        edge_attr=torch.zeros(2 * (size - 1), 3, dtype=torch.int64),
        y=torch.tensor([[100.0 * size]]),
        smiles="C" * size,
    )


@pytest.fixture
def chains(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [[chain(size) for size in range(1, 13)] * count for count in (6, 2, 2)]
    data = MoleculeBenchmark(*parts, metric="rmse", evaluator="ogbg-molesol", unread=[])
    monkeypatch.setattr(recipe, "ogb_molecules", lambda name: data)
    monkeypatch.setattr(recipe, "SHOWN", (1, 8))


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_it_learns_and_draws_and_a_second_call_only_draws(
    suffix: str, recipe: ModuleType, chains: None, tmp_path: Path
) -> None:
    pictures, runs = tmp_path / "pictures", tmp_path / "runs"
    command = ["--channels", "16", "--epochs", "12", "--runs", str(runs), "--suffix", suffix]
    error = recipe.main([*command, "--output", str(pictures)])
    assert error < 250  # that of always answering the mean is 345
    [record] = runs.glob("*/seed-0.json")
    written = json.loads(record.read_text())
    assert written["test"]["rmse"] == error
    assert written["epochs"] == 12
    assert sorted(path.name for path in pictures.iterdir()) == [f"{p}.{suffix}" for p in PICTURES]
    assert all(2_000 < path.stat().st_size < 400_000 for path in pictures.iterdir())

    before = record.stat().st_mtime_ns
    assert recipe.main([*command, "--output", str(tmp_path / "again")]) == error
    assert record.stat().st_mtime_ns == before
    for path in pictures.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_what_atoms_get_is_over_uniform_attention(
    recipe: ModuleType, chains: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = recipe.network(recipe.ogb_molecules("molesol"), 16).eval()
    for layer in model.network.layers:  # queries of zero: all atoms get the same
        torch.nn.init.zeros_(layer.attn.in_proj_weight)
    drawn = {}
    monkeypatch.setattr(recipe, "save_picture", lambda *own, **options: None)
    monkeypatch.setattr(
        recipe,
        "attention_on_molecules",
        lambda molecules, bonds, **rest: drawn.update(rest, bonds=bonds),
    )
    molecules = recipe.encoded([chain(5), chain(1), chain(3)])
    recipe.draw_molecules(model, molecules, tmp_path / "none.svg")
    for molecule, atoms, bonds in zip(
        molecules, drawn["atom_weights"], drawn["bonds"], strict=True
    ):
        torch.testing.assert_close(atoms, torch.ones(molecule.num_nodes, 16))
        torch.testing.assert_close(bonds, torch.ones(molecule.num_edges, 16))
    near = recipe.draw_distances(model, [chain(5), chain(1), chain(3)], tmp_path / "none.svg")
    torch.testing.assert_close(near, near[-1].expand(5))
