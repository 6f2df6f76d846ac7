"""A training step on real graphs is timed for ours, PyG's and the linear maps alone."""

from pathlib import Path

import pytest
import torch
from torch_geometric.nn import GATConv, GATv2Conv

from benchmarks.training import PHOTO, LinearMaps, measure, photo


@pytest.fixture(autouse=True)
def _data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (data_folder / PHOTO).is_file():
        pytest.skip(f"no {PHOTO} in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))


def test_photo_is_the_published_graph_with_twenty_nodes_a_class_to_train_on() -> None:
    data = photo()
    assert (data.num_nodes, data.num_edges, data.num_features) == (7650, 238_162, 745)
    assert data.y[data.train_mask].bincount().tolist() == [20] * 8


def test_photo_missing_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"put amazon_electronics_photo.npz"):
        photo()


@pytest.mark.parametrize(("layer", "num_maps"), [(GATConv, 1), (GATv2Conv, 2)])
@pytest.mark.parametrize("concat", [True, False])
def test_linear_maps_are_a_layer_whose_nodes_attend_to_themselves_alone(
    layer: type, num_maps: int, concat: bool
) -> None:
    maps = LinearMaps(5, 4, 3, concat, num_maps=num_maps)
    attention = layer(5, 4, heads=3, concat=concat)
    linear = attention.lin if layer is GATConv else attention.lin_l
    with torch.no_grad():
        maps.lin_l.weight.copy_(linear.weight)
        for parameter in (maps.lin_l.bias, linear.bias, *maps.others.parameters()):
            if parameter is not None:  # GATConv's map has no bias
                parameter.zero_()
    x, no_edges = torch.randn(6, 5), torch.zeros(2, 0, dtype=torch.int64)
    torch.testing.assert_close(maps(x, no_edges), attention(x, no_edges))


def test_a_step_is_timed_for_all_on_both_graphs() -> None:
    results = measure(1, lambda line: None)
    assert len(results) == 2 * 2 * 3
    for result in results:
        assert len(result["training"]) == 1
        assert result["training"][0] > 0
