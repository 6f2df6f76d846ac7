"""Medians, ratios, goals and the page follow from the records alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.goals import goals
from benchmarks.report import write_report
from benchmarks.results import Record, read_records
from benchmarks.sets.cases import SetCase

ABOUT = {
    "group": "",
    "command": "python -m benchmarks.run",
    "quick": False,
    "commit": "abc",
    "date": "2026-01-02T03:04:05+00:00",
    "hardware": {"cpu": "a processor", "cores": 2, "threads": 2, "gpu": None},
    "versions": {"python": "3.11", "torch": "2.13"},
    "workers": {"dgl": {"versions": {"dgl": "2.1.0", "torch": "2.2.2"}, "threads": 2}},
    "seeds": "",
}


def result(case: str, layer: str, peer: str, seconds: list[float], **more: Any) -> dict[str, Any]:
    own = {"forward": [s / 4 for s in seconds], "training": seconds, "peak": None}
    return {"case": {"name": case}, "layer": layer, "peer": peer, **own, **more}


def growing(prefix: str, exponent: float) -> list[dict[str, Any]]:
    sizes = (500_000, 1_000_000, 2_000_000)
    return [
        result(f"{prefix} {size}", "GATv2Conv", "ours", [(size / 1e6) ** exponent])
        for size in sizes
    ]


def on_sets(name: str, layer: str, times: dict[str, float], **more: Any) -> list[dict[str, Any]]:
    case = SetCase(name, 2, 100, 100, (layer,), tuple(times)).plain()
    return [
        {**result(name, layer, peer, [seconds], **more), "case": case}
        for peer, seconds in times.items()
    ]


RESULTS: dict[str, list[dict[str, Any]]] = {
    "reference": [
        result("reference", "GATv2Conv", "ours", [9.0, 1.0, 1.0], peak=1e9),
        result("reference", "GATv2Conv", "pyg", [12.0, 12.0, 0.0], peak=8e9),
        result("reference", "GATv2Conv", "dgl", [5.0, 5.0, 5.0], peak=5e9),
    ],
    "tiny": [result("tiny", "GATConv", "ours", [4e-4])],
    "stars": [
        result(name, "GATConv", "ours", [seconds])
        for name, seconds in (("regular", 1.0), ("target star", 1.4), ("source star", 2.0))
    ],
    "growth": [*growing("fixed", 1.0), *growing("proportional", 1.2)],
    "compile": [
        {
            "case": {"name": "compile"},
            "layer": "GATConv",
            "peer": "ours",
            "empty": [2.0],
            "cached": [0.11],
            "second": [0.01, 0.01],
        }
    ],
    "training": [
        result("PubMed", "GAT", peer, [seconds])
        for peer, seconds in (("ours", 0.5), ("pyg", 2.0), ("linear maps", 0.25))
    ],
    "sets-ragged": on_sets("ragged", "SetAttentionBlock", {"ours": 1.0, "pyg": 2.0}, peak=4e6),
    "sets-equal": on_sets("equal", "SetAttentionBlock", {"ours": 1.1, "dense": 1.0}),
    "perceiver": [
        result(f"points {size}", layer, "ours", [seconds])
        for size, factor in ((100_000, 1.0), (1_000_000, 10.0))
        for layer, seconds in (("Perceiver", 2 + factor), ("Perceiver's read", factor**1.1))
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for group, results in RESULTS.items():
        (tmp_path / f"{group}.json").write_text(json.dumps({**ABOUT, "results": results}))
    return tmp_path


def test_medians_ratios_and_the_best_peer_are_of_all_samples() -> None:
    record = Record(ABOUT, tuple(RESULTS["reference"]))
    assert record.median("reference", "GATv2Conv", "ours", "training") == 1.0
    assert record.ratio("reference", "GATv2Conv", ("pyg", "ours"), "training") == 12.0
    assert record.best_peer("reference", "GATv2Conv", "training") == "dgl"
    assert record.median("reference", "GATConv", "ours", "training") is None
    assert record.ratio("reference", "GATv2Conv", ("jax", "ours"), "training") is None


def test_goals_are_met_or_not_by_their_bounds(folder: Path) -> None:
    found = {goal.what: (goal.measured, goal.is_met) for goal in goals(read_records(folder))}
    expected: dict[str, tuple[float, bool]] = {
        "GATv2Conv: times faster than PyG, forward": (12.0, False),  # 18
        "GATv2Conv: times faster than PyG, forward + backward": (12.0, True),  # 11
        "GATv2Conv: times faster than the best peer, forward + backward": (5.0, False),  # 5.5
        "GATv2Conv: peak memory of a training step, of PyG's": (0.125, True),
        "GATConv: target star over evenly spread edges, forward + backward": (1.4, True),
        "GATConv: source star over evenly spread edges, forward + backward": (2.0, False),
        "most growth per doubling, N fixed": (2.0, True),
        "most growth per doubling, N proportional to E": (2**1.2, True),
        "most growth per doubling, N proportional to E beyond 1,000,000 edges": (2**1.2, False),
        "GATConv: compiling, in the first training step of a process": (1990.0, True),
        "GATConv: the same from the disk cache": (100.0, False),
        "GATConv: 10 nodes, forward": (100.0, True),
        "GATConv: 10 nodes, forward + backward": (400.0, True),
        "SetAttentionBlock, ragged: times faster than PyG, forward": (2.0, False),
        "SetAttentionBlock, ragged: times faster than PyG, forward + backward": (2.0, False),
        "SetAttentionBlock, ragged: peak memory of a training step, of its elements'": (
            4e6 / (4 * 200 * 128),
            False,
        ),
        "SetAttentionBlock, equal: over a dense batch, forward": (1.1, False),
        "SetAttentionBlock, equal: over a dense batch, forward + backward": (1.1, False),
        "Perceiver: growth from 100,000 to 1,000,000 points, forward + backward": (4.0, True),
        "Perceiver's read: growth from 100,000 to 1,000,000 points, forward + backward": (
            10**1.1,
            False,
        ),
    }
    assert found.keys() == expected.keys()
    for what, (measured, is_met) in expected.items():
        assert found[what][0] == pytest.approx(measured), what
        assert found[what][1] == is_met, what


def test_the_page_shows_times_shares_and_where_they_are_from(folder: Path, tmp_path: Path) -> None:
    write_report(folder, tmp_path / "docs")
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for line in (
        "| GATv2Conv | 250 ms / 1 s | 3 s / 12 s | 1.25 s / 5 s |",
        "| times ours | 1 / 1 | 12 / 12 | 5 / 5 |",
        "| GATv2Conv | 1.00 GB | 8.00 GB | 5.00 GB |",
        "| PubMed | GAT | 500 ms | 50 % | 2 s | 88 % | 250 ms | 4 |",
        "| 500,000 | 500 ms | - | 435 ms | - |",
        "| 2,000,000 | 2 s | 2 | 2.3 s | 2.3 |",
        "| 100,000 | 750 ms / 3 s | - / - | 250 ms / 1 s | - / - |",
        "| 1,000,000 | 3 s / 12 s | 4 / 4 | 3.15 s / 12.6 s | 13 / 13 |",
        "commit abc, 2026-01-02, a processor with 2 cores, threads used: 2; python 3.11,"
        " torch 2.13, dgl 2.1.0 with 2.2.2; samples: 3 each.",
    ):
        assert line in page
    assert "quick try" not in page


def test_charts_are_the_same_bytes_each_time(folder: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_report(folder, tmp_path / name)
    for chart in ("benchmarks_reference.svg", "benchmarks_growth.svg"):
        assert (tmp_path / "first" / chart).read_bytes() == (
            tmp_path / "second" / chart
        ).read_bytes()
