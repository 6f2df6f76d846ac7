"""The DictionaryLookup recipe: it learns small dictionaries, graph by graph."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from graphattn.datasets.dictionary_lookup import dictionary_lookup

RECIPE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "dictionary_lookup.py"))


def network(model: str, size: int, num_graphs: int) -> torch.nn.Module:
    edge_index = RECIPE["side_by_side"](dictionary_lookup(size).edge_index, 2 * size, num_graphs)
    attention = RECIPE["attention_layer"](model, 32, 4)
    return RECIPE["LookupNetwork"](attention, edge_index, size, 32).eval()


def test_one_head_of_gatv2_looks_up_every_key_in_unseen_graphs(tmp_path: Path) -> None:
    command = ["--size", "5", "--dim", "64", "--batch-size", "16", "--first-seed", "1"]
    accuracy = RECIPE["main"]([*command, "--output", str(tmp_path)])
    assert accuracy == 100
    path = tmp_path / "dictionary_lookup" / "5-GATv2-1" / "seed-1.json"
    record = json.loads(path.read_text())
    assert record["curve"][-1]["validation_loss"] < 0.01  # which stopped it
    assert record["test"]["graphs"] == 1
    assert record["epochs"] < record["settings"]["max_epochs"]
    assert RECIPE["main"]([*command, "--output", str(tmp_path)]) == 100


@pytest.mark.parametrize("model", ["GAT", "GATv2"])
def test_graphs_of_a_batch_do_not_see_one_another(model: str) -> None:
    together = network(model, 5, 8)
    values = dictionary_lookup(5).train[:8]
    logits = together(values)
    assert logits.shape == (8, 5, 5)
    for graph in range(8):  # one graph alone is a batch smaller than the structure kept for it
        torch.testing.assert_close(together(values[graph : graph + 1]), logits[graph : graph + 1])
