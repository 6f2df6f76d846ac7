"""The citation recipe: a short run learns, is resumable, and its inputs are what it says."""

import json
import runpy
from pathlib import Path

import pytest
import torch

RECIPE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "citation.py"))


@pytest.fixture(autouse=True)
def _data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (data_folder / "planetoid").is_dir():
        pytest.skip(f"no planetoid folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))


@pytest.mark.parametrize("model", ["GAT", "GATv2"])
def test_a_short_run_learns_and_is_not_run_again(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", model, "--seeds", "1", "--max-epochs", "40", "--output", str(tmp_path)]
    accuracy = RECIPE["main"](command)
    assert accuracy > 70
    path = tmp_path / "citation" / f"Cora-{model}" / "seed-0.json"
    record, written = json.loads(path.read_text()), path.stat().st_mtime_ns
    assert 100 * record["test"]["accuracy"] == accuracy
    assert record["epochs"] == len(record["curve"]) == 40
    assert record["settings"]["weight_decay"] == 5e-4
    assert RECIPE["main"](command) == accuracy
    assert path.stat().st_mtime_ns == written
    assert "published for GAT: 83.0 ± 0.7 %" in capsys.readouterr().out


def test_a_result_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    command = ["--seeds", "1", "--output", str(tmp_path), "--max-epochs"]
    RECIPE["main"]([*command, "2"])
    with pytest.raises(ValueError, match=r"seed-0\.json must be of the settings .*'max_epochs': 3"):
        RECIPE["main"]([*command, "3"])


@pytest.mark.parametrize("model", ["GAT", "GATv2"])
def test_sparse_features_give_the_numbers_and_gradients_of_dense_ones(model: str) -> None:
    x = torch.rand(30, 12) * (torch.rand(30, 12) < 0.2)
    edge_index = torch.randint(0, 30, (2, 90))
    network = RECIPE["CitationNetwork"](RECIPE["LAYERS"][model], 12, 3, 2).eval()
    results = []
    for features in (x, x.to_sparse()):
        network.zero_grad()
        output = network(features, edge_index)
        output.square().sum().backward()
        results.append([output, *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_dropout_of_sparse_features_keeps_their_mean_and_zeros() -> None:
    x = (torch.rand(200, 300) < 0.3).float()
    dropped = RECIPE["dropout"](x.to_sparse(), True).to_dense()
    assert set(dropped.unique().tolist()) == {0.0, 2.5}
    assert (dropped[x == 0] == 0).all()
    assert dropped[x == 1].mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(RECIPE["dropout"](x.to_sparse(), False).to_dense(), x)
