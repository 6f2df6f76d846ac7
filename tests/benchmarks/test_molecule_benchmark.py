"""Networks on molecules are the same whoever made their parts, and every step sees new ones."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks import run
from benchmarks.goals import goals
from benchmarks.harness import check_agreement
from benchmarks.molecules import measure, parts
from benchmarks.molecules.cases import MOLECULE_CASES, MoleculeCase, sizes
from benchmarks.molecules.contestants import TrainingStep
from benchmarks.molecules.networks import NETWORKS, build
from benchmarks.molecules.page import molecule_tables, most_times
from benchmarks.results import Record, read_records
from graphattn.edges import Edges
from graphattn.nn.feature_dropout import FeatureDropout

SMALL = MoleculeCase("molhiv", "GraphTransformer").small()


@pytest.mark.parametrize("case", MOLECULE_CASES, ids=lambda case: f"{case.layer}, {case.name}")
def test_a_case_survives_json_and_is_small_without_files(
    case: MoleculeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    small = MoleculeCase.from_plain(json.loads(json.dumps(case.small().plain())))
    assert small == case.small()
    assert (small.peers, small.layer) == (case.peers, case.layer)
    first, second = small.batches(2)
    assert first.num_graphs == second.num_graphs == 6
    assert first.random_walk_pe.shape == (first.num_nodes, 16)


def test_real_molecules_come_once_and_run_out(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_folder / "ogb" / "ogbg_mollipo").is_dir():
        pytest.skip(f"no ogbg_mollipo in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    case = MoleculeCase("mollipo", "GraphTransformer")
    batches = case.batches(16)  # all but 104 of the 4,200
    assert len({text for batch in batches for text in batch.smiles}) == 16 * 256
    assert case.batches(1)[0].smiles == batches[0].smiles
    counts = sizes(batches)
    assert counts["molecules"] == 256
    assert 26 < counts["atoms"] / 256 < 28
    assert counts["largest"] == sum(int(own.ptr.diff().max()) for own in batches) / 16
    with pytest.raises(ValueError, match=r"17 batches of 256 molecules, got 4200 .* fewer rounds"):
        case.batches(17)


@pytest.mark.parametrize("layer", NETWORKS)
def test_networks_of_either_are_one_function_with_one_gradient(layer: str) -> None:
    batch = SMALL.batches(1)[0]
    batch.random_walk_pe = batch.random_walk_pe.double()
    recipe = replace(SMALL.recipe, dropout=0.0)
    found = []
    for peer in ("ours", "pyg"):
        network = build(layer, peer, recipe).double()
        out = network(batch)
        loss = F.binary_cross_entropy_with_logits(out, batch.y.double())
        weights = dict(network.named_parameters())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        found.append((out, dict(zip(weights, gradients, strict=True))))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("layer", NETWORKS)
def test_networks_of_either_drop_alike(layer: str) -> None:
    ours, pyg = (
        sorted(
            (name, module.p if isinstance(module, nn.Dropout) else module.dropout)
            for name, module in build(layer, peer, SMALL.recipe).named_modules()
            if isinstance(module, nn.Dropout) or isinstance(getattr(module, "dropout", 0), float)
        )
        for peer in ("ours", "pyg")
    )
    assert ours == pyg
    probabilities = [probability for _, probability in ours]
    # Two layers: whole graphs' attention is all that keeps its weights.
    assert probabilities.count(0.0) == (2 if "kept" in layer else 0)
    assert set(probabilities) <= {0.0, 0.3}
    kinds = {type(module) for module in build(layer, "pyg", SMALL.recipe).modules()}
    assert FeatureDropout not in kinds  # the peer's features are dropped by PyTorch
    assert nn.Dropout in kinds


def test_every_step_moves_the_weights_and_builds_the_structure_of_its_own_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = []
    make = Edges.from_edge_index

    def counted(edge_index: torch.Tensor, *sizes: Any, **options: Any) -> Edges:
        built.append(edge_index.shape[1])
        return make(edge_index, *sizes, **options)

    monkeypatch.setattr(Edges, "from_edge_index", counted)
    batches = SMALL.batches(2)
    contestant = TrainingStep(SMALL, batches, "ours")
    contestant.checksum()
    built.clear()
    before = [weight.clone() for weight in contestant.network.parameters()]
    for _ in batches:
        forward, whole = contestant.step()
        assert 0 < forward < whole
    assert built == [batch.num_edges for batch in batches]
    moved = [
        not torch.equal(old, new)
        for old, new in zip(before, contestant.network.parameters(), strict=True)
    ]
    assert all(moved)
    with pytest.raises(IndexError):
        contestant.step()


def test_a_contestant_with_other_weights_is_refused() -> None:
    batches = SMALL.batches(2)
    contestants = {peer: TrainingStep(SMALL, batches, peer) for peer in SMALL.peers}
    results = [
        {"layer": SMALL.layer, "peer": peer, "checksum": contestant.checksum()}
        for peer, contestant in contestants.items()
    ]
    check_agreement(results)
    results[1]["checksum"][1] *= 1.01
    with pytest.raises(RuntimeError, match="GraphTransformer of pyg must give the results of ours"):
        check_agreement(results)


def test_backward_passes_belong_to_the_part_that_they_are_of() -> None:
    embedding, linear = nn.Embedding(5, 8), nn.Linear(8, 8)
    adam = torch.optim.Adam([*embedding.parameters(), *linear.parameters()])
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        x = F.dropout(linear(embedding(torch.arange(5))), 0.5)
        F.batch_norm(x.relu(), None, None, training=True).square().sum().backward()
        adam.step()
    events = profiled.events()
    found: dict[str, set[str]] = {}
    for event, part in zip(events, parts.parts_of_events(events), strict=True):
        found.setdefault(event.name, set()).add(part)
    expected = {
        "aten::addmm": {"matrix products"},
        "aten::mm": {"matrix products"},
        "aten::bernoulli_": {"dropout"},
        "aten::native_batch_norm_backward": {"norms"},
        "aten::embedding_dense_backward": {"embeddings"},
        "aten::threshold_backward": {"rest"},
        "aten::addcdiv_": {"optimizer"},
        "aten::mul": {"dropout", "rest"},  # the rest is the derivative of the square
    }
    assert {operator: found[operator] for operator in expected} == expected


@pytest.mark.parametrize("peer", ["ours", "pyg"])
def test_the_parts_of_a_step_are_all_there(peer: str) -> None:
    case = replace(SMALL, layer="GPS, GINE")
    contestant = TrainingStep(case, case.batches(1 + parts.STEPS), peer)
    contestant.step()
    found = parts.parts_of(contestant)
    assert tuple(found) == parts.PARTS
    for part in ("optimizer", "matrix products", "attention", "dropout", "norms", "embeddings"):
        assert 0 < found[part] < sum(found.values()), part
    assert (found["structures"] > 0) == (peer == "ours")


def test_the_parts_are_told_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    threads = str(torch.get_num_threads())
    text = parts.main(["GraphTransformer", "--quick", "--threads", threads])
    assert text in capsys.readouterr().out
    assert text.splitlines()[0] == "| GraphTransformer | ours | pyg |"
    assert len(text.splitlines()) == 2 + len(parts.PARTS)


def test_a_try_leaves_a_record_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One network and one peak, since processes take long to start.
    case = MoleculeCase("molhiv", "GraphTransformer")
    cases = (case, replace(case, name="mollipo", peers=("pyg",), has_peak=True))
    monkeypatch.setattr(measure, "MOLECULE_CASES", cases)
    threads = ["--threads", str(torch.get_num_threads())]
    run.main(["--cases", "molecule-training", "--quick", *threads, "--output", str(tmp_path)])
    record = read_records(tmp_path / "benchmarks" / "records")["molecule-training"]
    assert [(own["case"]["name"], own["peer"]) for own in record.results] == [
        ("molhiv", "ours"),
        ("molhiv", "pyg"),
        ("mollipo", "pyg"),
    ]
    for result in record.results:
        assert result["training"][0] > result["forward"][0] > 0
        assert (result["peak"] is not None) == (result["case"]["name"] == "mollipo")
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for text in (
        "## Training networks on fresh batches of molecules",
        "| GraphTransformer, molhiv: times faster than of PyG's parts, a training step | ≥ 2.5 x |",
        "A molecule of molhiv has",
    ):
        assert text in page


def result(layer: str, peer: str, seconds: float, **more: Any) -> dict[str, Any]:
    shares = dict.fromkeys(parts.PARTS, 0.0)
    shares |= {"matrix products": 0.5, "dropout": 0.3, "attention": 0.2}
    counts = {"molecules": 256, "atoms": 6400, "bonds": 14080, "pairs": 200_000, "largest": 125}
    return {
        "case": {"name": "molhiv"},
        "layer": layer,
        "peer": peer,
        "forward": [seconds / 4],
        "training": [seconds],
        "peak": None,
        "parts": shares,
        "sizes": counts,
        **more,
    }


RECORD = Record(
    {},
    (
        result("GPS, GatedGCN", "ours", 0.5, peak=2e8),
        result("GPS, GatedGCN", "pyg", 2.0, peak=3e9),
        result("GraphTransformer", "ours", 0.4),
        result("GraphTransformer", "pyg", 0.6),
    ),
)


def test_goals_of_molecules_are_met_or_not_by_their_bound() -> None:
    found = {
        goal.what: (goal.measured, goal.is_met) for goal in goals({"molecule-training": RECORD})
    }
    assert found == {
        "GPS, GatedGCN, molhiv: times faster than of PyG's parts, a training step": (4.0, True),
        "GraphTransformer, molhiv: times faster than of PyG's parts, a training step": (
            pytest.approx(1.5),
            False,
        ),
    }


def test_tables_of_molecules_show_times_peaks_padding_and_parts() -> None:
    page = "\n".join(molecule_tables(RECORD))
    for line in (
        "| GPS, GatedGCN | molhiv | 125 ms / 500 ms | 500 ms / 2 s | 4 | 200 MB | 3,000 MB |",
        "| GraphTransformer | molhiv | 100 ms / 400 ms | 150 ms / 600 ms | 1.5 | - | - |",
        "has 25 atoms and 55 directed bonds, and the largest of a batch 125 atoms",
        "there are 20 times as many pairs",
        "| GraphTransformer, molhiv, graphattn | 0 % | 50 % | 20 % | 30 % |",
    ):
        assert line in page
    # With nothing but products and dropout, four fifths of the step are left.
    assert most_times(RECORD, "molhiv", "GraphTransformer") == pytest.approx(1.5 / 0.8)
    assert most_times(RECORD, "molhiv", "GINE") is None
