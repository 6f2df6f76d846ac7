"""Crystals of the benchmark are what they are said to be, and contestants compute one thing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import run
from benchmarks.crystals import measure
from benchmarks.crystals.cases import (
    CRYSTAL_CASES,
    MODEL,
    ROCK_SALT,
    SUMS,
    WIDEST,
    CrystalCase,
    rock_salt,
    sizes,
)
from benchmarks.crystals.contestants import start
from benchmarks.crystals.page import crystal_tables
from benchmarks.goals import goals
from benchmarks.harness import check_agreement
from benchmarks.results import Record, read_records
from graphattn.nn.crystals.lattice_terms import Gaussians

CASES = [case for row in CRYSTAL_CASES for case in row]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}, {case.layer}")
def test_a_case_survives_json_and_is_small_without_files(case: CrystalCase) -> None:
    small = CrystalCase.from_plain(json.loads(json.dumps(case.small().plain())))
    assert small == case.small()
    batch = small.batch()
    assert batch.num_crystals == small.crystals * small.copies <= 8
    assert len(batch.numbers) == batch.num_crystals * small.cell
    assert small.peers == case.peers


def test_real_crystals_are_those_drawn_and_copies_repeat_them(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_folder / "crystal_flla").is_dir():
        pytest.skip(f"no crystal_flla in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    real, sixteen, once, twice = (case.batch() for case in CASES[:4])
    assert (real.num_crystals, len(real.numbers)) == (64, 789)
    assert sixteen.names == real.names[:16]
    assert once.names * 2 == twice.names == real.names * 2
    counted, doubled = sizes(once), sizes(twice)
    assert doubled == {what: 2 * count for what, count in counted.items()}
    assert counted["pairs"] == 12_843
    assert 100 < counted["images"] / counted["pairs"] < 1000


@pytest.mark.parametrize("num_atoms", [2, 8, 64])
def test_rock_salt_is_the_same_crystal_in_all_its_cells(num_atoms: int) -> None:
    crystal = rock_salt(num_atoms)
    assert crystal.numbers.bincount().nonzero().flatten().tolist() == [11, 17]
    assert int((crystal.numbers == 11).sum()) == num_atoms // 2
    volume = float(crystal.lattice.det()) / num_atoms
    assert volume == pytest.approx(ROCK_SALT**3 / 8)
    shifts = torch.cartesian_prod(*[torch.arange(-3.0, 4.0)] * 3).double() @ crystal.lattice
    images = crystal.position.unsqueeze(1) + shifts  # (n, M, 3)
    distance = (images - crystal.position[0]).square().sum(-1).sqrt()
    nearest = (distance - ROCK_SALT / 2).abs() < 1e-6
    assert int(nearest.sum()) == 6
    assert (distance[~nearest] > ROCK_SALT / 2).sum() == distance.numel() - 7
    unlike = crystal.numbers != crystal.numbers[0]
    assert bool(unlike[nearest.any(1)].all())


def test_no_width_of_the_model_is_above_the_widest() -> None:
    sigma = Gaussians().sigma(torch.tensor([-1e6, -10.0, 0.0, 10.0]))
    assert float(sigma.max()) == pytest.approx(WIDEST)
    contestant: Any = start(CrystalCase("a case"), CrystalCase("a case").small().batch(), "ours")
    sigma = contestant.inputs[0].detach()
    assert 1.1 < float(sigma.min()) < float(sigma.max()) < WIDEST


@pytest.mark.parametrize("layer", [SUMS, MODEL])
def test_contestants_on_crystals_compute_one_thing(layer: str) -> None:
    case = CrystalCase("a case", layer, crystals=2, cell=8, peers=("ours", "reference"))
    batch = case.batch()
    contestants = {peer: start(case, batch, peer) for peer in case.peers}
    for _ in range(2):  # the weights of the model move alike, too
        results = [
            {"layer": layer, "peer": peer, "checksum": contestant.checksum()}
            for peer, contestant in contestants.items()
        ]
        check_agreement(results)
        for contestant in contestants.values():
            forward, whole = contestant.step()
            assert 0 < forward < whole


def test_a_try_leaves_a_record_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The model is left out, whose processes take long to start; the sums have a peak as well.
    rows = tuple(row for row in CRYSTAL_CASES if row[0].layer == SUMS)
    monkeypatch.setattr(measure, "CRYSTAL_CASES", rows)
    threads = ["--threads", str(torch.get_num_threads())]
    run.main(["--cases", "crystals", "--quick", *threads, "--output", str(tmp_path)])
    record = read_records(tmp_path / "benchmarks" / "records")["crystals"]
    assert record.cases() == [case.name for row in rows for case in row]
    for result in record.results:
        assert result["training"][0] > result["forward"][0] > 0
        assert (result["peak"] is not None) == (result["case"]["name"] == "64 crystals")
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for text in ("## Crystals: sums", "times faster than plain PyTorch", "| 8 | 2 | 128 |"):
        assert text in page


def result(case: str, layer: str, peer: str, seconds: float, **more: Any) -> dict[str, Any]:
    times = {"forward": [seconds / 4], "training": [seconds], "peak": None}
    return {"case": {"name": case}, "layer": layer, "peer": peer, **times, **more}


RECORD = Record(
    {},
    (
        result("64 crystals", SUMS, "ours", 0.5, peak=2e7),
        result("64 crystals", SUMS, "reference", 4.0, peak=1e9),
        result("16 crystals", MODEL, "ours", 1.0, peak=1e8),
        result("16 crystals", MODEL, "reference", 6.0, peak=3e9),
        *(
            result(
                f"copies {n}", SUMS, "ours", n**1.2, sizes={"crystals": 64 * n, "pairs": 1000 * n}
            )
            for n in (1, 2, 16)
        ),
        result(
            "cell 8",
            SUMS,
            "ours",
            1e-2,
            sizes={"crystals": 4, "atoms": 32, "pairs": 1000, "images": 200_000},
        ),
    ),
)


def test_goals_of_crystals_are_met_or_not_by_their_bounds() -> None:
    found = {goal.what: (goal.measured, goal.is_met) for goal in goals({"crystals": RECORD})}
    expected = {
        "lattice sums, 64 crystals: times faster than plain PyTorch, forward + backward": (
            8,
            False,
        ),
        "lattice sums, 64 crystals: peak memory, of plain PyTorch's": (0.02, True),
        "Crystalformer, 16 crystals: times faster than plain PyTorch, a training step": (6, True),
        "lattice sums: growth from 64 to 1,024 crystals, forward + backward": (16**1.2, False),
    }
    assert found.keys() == expected.keys()
    for what, (measured, is_met) in expected.items():
        assert found[what] == (pytest.approx(measured), is_met), what


def test_tables_of_crystals_show_times_peaks_and_what_grows() -> None:
    page = "\n".join(crystal_tables(RECORD))
    for line in (
        "| lattice sums, 64 crystals, whole | 500 ms | 4 s | 8 |",
        "| lattice sums, 64 crystals, peak memory | 20 MB | 1,000 MB | 50 |",
        "| Crystalformer, 16 crystals, forward | 250 ms | 1.5 s | 6 |",
        "| 128 | 2,000 | 574 ms / 2.3 s | 2.3 |",
        "| 8 | 4 | 1,000 | 200 | 10 ms | 10 µs | 312 µs |",
    ):
        assert line in page
