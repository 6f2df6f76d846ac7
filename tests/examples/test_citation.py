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
    command = ["--model", model, "--seeds", "1", "--max-epochs", "100", "--output", str(tmp_path)]
    accuracy = RECIPE["main"](command)
    assert accuracy > 70
    path = tmp_path / "citation" / f"Cora-{model}" / "seed-0.json"
    record, written = json.loads(path.read_text()), path.stat().st_mtime_ns
    assert 100 * record["test"]["accuracy"] == accuracy
    assert record["epochs"] == len(record["curve"]) == 100
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


@pytest.mark.parametrize("is_sparse", [True, False])
def test_each_head_drops_words_of_its_own(is_sparse: bool) -> None:
    x = (torch.rand(100, 40) < 0.5).float()
    same = torch.nn.Linear(40, 3 * 40)  # three heads, each of which repeats its input
    torch.nn.init.zeros_(same.bias)
    same.weight.data = torch.eye(40).repeat(3, 1)
    projection = RECIPE["DroppedProjection"](same, 3)
    features = x.to_sparse() if is_sparse else x
    dropped = projection(features).view(100, 3, 40)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / 0.4**2]))  # dropped twice
    assert (dropped.transpose(0, 1)[:, x == 0] == 0).all()
    kept = (dropped != 0).transpose(0, 1)[:, x == 1].float()  # (heads, words)
    torch.testing.assert_close(torch.corrcoef(kept), torch.eye(3), atol=0.1, rtol=0)
    assert kept.mean() == pytest.approx(0.4**2, abs=0.02)
    assert torch.equal(projection.eval()(features).view(100, 3, 40)[:, 1], x)


def test_leaving_out_what_is_far_changes_no_number_that_is_used() -> None:
    data = RECIPE["planetoid"]("CiteSeer", normalize=True)
    network = RECIPE["CitationNetwork"](RECIPE["LAYERS"]["GAT"], 3703, 6, 1).eval()
    whole = network(data.x, data.edge_index)
    for name in ("train_mask", "val_mask", "test_mask"):
        part = RECIPE["nearby"](data, data[name])
        assert part.num_nodes < data.num_nodes
        assert torch.equal(part.y[part[name]], data.y[data[name]])
        near = network(part.x, part.edge_index)
        torch.testing.assert_close(near[part[name]], whole[data[name]])
