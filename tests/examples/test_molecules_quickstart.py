"""The quickstart: it runs in small, leaves what it promises, and its parts mean what they say."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets.nci import molecule_from_smiles
from graphattn.training import load_weights

pytest.importorskip("rdkit")
pytest.importorskip("matplotlib")

SMALL = ["--epochs", "3", "--hidden", "16", "--limit", "400"]


@pytest.fixture(scope="module")
def quickstart() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "molecules_quickstart.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # torch_geometric looks up where a layer was defined
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finished(quickstart, tmp_path_factory) -> tuple[float, Path]:
    output = tmp_path_factory.mktemp("quick start")
    return quickstart.main([*SMALL, "--output", str(output)]), output


def test_it_leaves_a_picture_and_weights_that_load(quickstart, finished):
    error, output = finished
    assert (output / "picture.png").read_bytes().startswith(b"\x89PNG")
    (weights,) = output.glob("*/attention/weights.pt")
    model = quickstart.MoleculeNetwork(quickstart.attention_conv, 16)
    load_weights(model, weights)
    test = quickstart.nci_molecules(limit=400).test
    with torch.no_grad():
        batch = next(iter(DataLoader(test, batch_size=len(test))))
        found = float((model(batch) - batch.y).abs().mean())
    assert found == pytest.approx(error, rel=1e-5)


def test_a_second_run_trains_no_more_and_says_the_same(quickstart, finished, capsys):
    error, output = finished
    (weights,) = output.glob("*/attention/weights.pt")
    before = weights.parent.joinpath("resume.ckpt").read_bytes()
    assert quickstart.main([*SMALL, "--output", str(output)]) == error
    assert weights.parent.joinpath("resume.ckpt").read_bytes() == before
    table = capsys.readouterr().out
    assert f"{error:.4f}" in table
    assert "row" not in table  # the first 400 rows all parse


@pytest.mark.parametrize("convolution", ["attention_conv", "MeanConv"])
def test_a_molecule_counts_the_same_alone_and_in_a_batch(quickstart, convolution):
    model = quickstart.MoleculeNetwork(getattr(quickstart, convolution), 16)
    molecules = [molecule_from_smiles(smiles) for smiles in ("CCO", "C", "c1ccccc1Br")]
    with torch.no_grad():
        together = model(next(iter(DataLoader(molecules, batch_size=3))))
        alone = [model(batch) for batch in DataLoader(molecules, batch_size=1)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("convolution", ["attention_conv", "MeanConv"])
def test_the_networks_see_the_bonds(quickstart, convolution):
    layer = getattr(quickstart, convolution)(16)
    x, edge_index = torch.randn(3, 16), torch.tensor([[0, 1], [2, 2]])
    edge_attr = torch.zeros(2, len(quickstart.BOND_COLUMNS))
    before = layer(x, edge_index, edge_attr)
    edge_attr[0, 1] = 5.0
    assert not torch.allclose(layer(x, edge_index, edge_attr)[2], before[2])


def test_attention_of_one_is_what_a_mean_would_give(quickstart):
    model = quickstart.MoleculeNetwork(quickstart.attention_conv, 16)
    molecule = molecule_from_smiles("CC(C)Cl")
    weight = quickstart.attention(model, molecule)  # (E, layers * heads)
    target = molecule.edge_index[1]
    total = torch.zeros(molecule.num_nodes, weight.shape[1]).index_add(0, target, weight)
    neighbours = torch.tensor([1.0, 3.0, 1.0, 1.0]).unsqueeze(1)
    torch.testing.assert_close(total, neighbours.expand_as(total))
    for convolution in model.convolutions:
        torch.nn.init.zeros_(convolution.att)
    torch.testing.assert_close(quickstart.attention(model, molecule), torch.ones_like(weight))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", "30"], "--hidden must be a multiple of 4, got 30"),
        (["--limit", "1"], "--limit must leave molecules in every part, got 1"),
    ],
)
def test_bad_options_are_named(quickstart, arguments, message, capsys):
    with pytest.raises(SystemExit):
        quickstart.main(arguments)
    assert message in capsys.readouterr().err
