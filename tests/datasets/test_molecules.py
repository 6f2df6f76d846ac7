"""OGB's molecules: official counts, splits, graphs and measures, and where the files may be."""

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphattn.datasets import ogb_files
from graphattn.datasets.molecules import OGB, MoleculeBenchmark, ogb_molecules

pytest.importorskip("ogb")

COUNTS = {  # train, validation, test, atoms, bonds in both directions
    "molesol": (902, 113, 113, 14_991, 30_856),
    "molfreesolv": (513, 64, 65, 5_600, 10_770),
    "mollipo": (3_360, 420, 420, 113_568, 247_798),
    "molbbbp": (1_631, 204, 204, 49_068, 105_842),
    "molhiv": (32_901, 4_113, 4_113, 1_049_163, 2_259_376),
}


@pytest.fixture
def tree(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (data_folder / "ogb").is_dir():
        pytest.skip(f"no ogb folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    return data_folder / "ogb"


def parts(data: MoleculeBenchmark) -> list[list[Data]]:
    return [data.train, data.validation, data.test]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.usefixtures("tree")
def test_has_the_official_counts_and_split(name: str) -> None:
    data = ogb_molecules(name)
    graphs = [graph for part in parts(data) for graph in part]
    assert tuple(map(len, parts(data))) == COUNTS[name][:3]
    assert sum(len(graph.x) for graph in graphs) == COUNTS[name][3]
    assert sum(graph.edge_index.shape[1] for graph in graphs) == COUNTS[name][4]
    assert all(graph.x.shape[1:] == (9,) and graph.y.shape == (1, 1) for graph in graphs)
    assert all(graph.edge_attr.shape == (graph.num_edges, 3) for graph in graphs)
    num_edges = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
    sizes = torch.tensor([len(graph.x) for graph in graphs]).repeat_interleave(num_edges)
    assert bool((torch.cat([graph.edge_index for graph in graphs], dim=1) < sizes).all())
    assert (data.num_properties, data.unread) == (1, [])
    assert data.is_regression == (name in ("molesol", "molfreesolv", "mollipo"))


def test_graphs_are_those_of_the_official_reader(tree: Path) -> None:
    from ogb.io.read_graph_raw import read_csv_graph_raw

    folder = tree / "ogbg_molfreesolv"
    expected = read_csv_graph_raw(str(folder / "raw"), add_inverse_edge=True)
    data = ogb_molecules("ogbg-molfreesolv")
    for part, ours in zip(("train", "valid", "test"), parts(data), strict=True):
        with gzip.open(folder / "split" / "scaffold" / f"{part}.csv.gz", "rt") as file:
            rows = [int(row) for row in file]
        for row, graph in zip(rows, ours, strict=True):
            assert np.array_equal(graph.x, expected[row]["node_feat"])
            assert np.array_equal(graph.edge_index, expected[row]["edge_index"])
            assert np.array_equal(graph.edge_attr, expected[row]["edge_feat"])


def test_the_official_archive_gives_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ogb_molecules("molfreesolv")
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "ogb").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "cache" / "ogb" / "freesolv.zip", "w") as archive:
        for path in (tree / "ogbg_molfreesolv").rglob("*.gz"):
            member = path.relative_to(tree / "ogbg_molfreesolv")
            archive.write(path, f"freesolv/{member.as_posix()}")
    again = ogb_molecules("molfreesolv")
    for own, same in zip(parts(expected), parts(again), strict=True):
        for first, second in zip(own, same, strict=True):
            assert first.smiles == second.smiles
            for key in ("x", "edge_index", "edge_attr", "y"):
                assert torch.equal(first[key], second[key])


@pytest.mark.parametrize("file", ["raw/edge", "raw/graph-label", "split/scaffold/test"])
def test_tables_that_do_not_fit_together_are_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    shutil.copytree(tree / "ogbg_molfreesolv", tmp_path / "ogb" / "ogbg_molfreesolv")
    path = tmp_path / "ogb" / "ogbg_molfreesolv" / f"{file}.csv.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:-1])))
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"molfreesolv: (tables|the split) must have"):
        ogb_molecules("molfreesolv")


def test_what_is_no_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    (tmp_path / "ogb").mkdir()
    (tmp_path / "ogb" / "esol.zip").write_text("<html>Moved</html>")
    with pytest.raises(ValueError, match=r"esol\.zip must be a zip archive .* delete it"):
        ogb_molecules("molesol")


def test_without_files_the_error_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ogb_files, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"put it at .*ogb/lipophilicity\.zip"):
        ogb_molecules("mollipo")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name must be one of \['molbace'.*got 'esol'"):
        ogb_molecules("esol")


def test_the_table_of_measures_is_that_of_ogb() -> None:
    from ogb.graphproppred import Evaluator

    for name, entry in OGB.items():
        assert Evaluator(f"ogbg-{name}").eval_metric == entry.metric


def benchmark(name: str, num_properties: int) -> MoleculeBenchmark:
    graph = Data(y=torch.zeros(1, num_properties))
    return MoleculeBenchmark([graph], [], [], OGB[name].metric, f"ogbg-{name}", [])


def test_measures_are_the_official_ones() -> None:
    missing = float("nan")
    error = benchmark("molesol", 1).evaluate(
        torch.tensor([[0.0], [1.0], [missing], [2.0]]), torch.tensor([[0.0], [2.0], [9.0], [4.0]])
    )
    assert error == pytest.approx((5 / 3) ** 0.5)
    area = benchmark("molclintox", 2).evaluate(  # 3 of 4 pairs in order, and 1 of 1
        torch.tensor([[0.0, 0.0], [1.0, missing], [0.0, missing], [1.0, 1.0]]),
        torch.tensor([[-3.0, 0.0], [-1.0, 7.0], [0.0, 0.0], [2.0, 0.1]]).bfloat16(),
    )
    assert area == pytest.approx((3 / 4 + 1) / 2)


def test_predictions_of_another_shape_raise() -> None:
    with pytest.raises(ValueError, match=r"must be \(G, 1\), got \(3, 1\) and \(3,\)"):
        benchmark("molesol", 1).evaluate(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"must be \(G, 2\), got \(3, 1\) and \(3, 1\)"):
        benchmark("molclintox", 2).evaluate(torch.zeros(3, 1), torch.zeros(3, 1))
