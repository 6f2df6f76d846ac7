"""Pictures: right colours on the right bonds, nothing of the user's matplotlib touched."""

import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from torch_geometric.data import Data

pytest.importorskip("matplotlib")
pytest.importorskip("rdkit")

from graphattn import Blocks
from graphattn.datasets.nci import molecule_from_smiles
from graphattn.plot import (
    attention_in_bags,
    attention_on_molecules,
    attention_on_points,
    learning_curve,
    save_picture,
)


def pictures_of(figure) -> list[numpy.ndarray]:
    return [numpy.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def coloured_pixels(picture: numpy.ndarray) -> int:
    colour = picture[..., :3]
    return int(((colour.max(-1) - colour.min(-1)) > 0.2).sum())


def test_learning_curve_shows_epochs_from_one_and_level_lines():
    figure = learning_curve(
        {"train": [2.0, 1.0, 0.5], "validation": [2.5, 1.5, 1.0]},
        quantity="mean absolute error (eV)",
        levels={"mean predictor": 3.0},
    )
    (axes,) = figure.axes
    train, validation, level = axes.lines
    assert train.get_xdata().tolist() == [1, 2, 3]
    assert validation.get_ydata().tolist() == [2.5, 1.5, 1.0]
    assert set(level.get_ydata()) == {3.0}
    assert axes.get_ylabel() == "mean absolute error (eV)"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["train", "validation", "mean predictor"]


def test_a_curve_of_one_epoch_is_visible():
    figure = learning_curve({"train": [1.0]}, quantity="loss", log_scale=True)
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_empty_learning_curve_has_empty_axes(tmp_path):
    figure = learning_curve({}, quantity="loss")
    figure.savefig(tmp_path / "empty.png")
    assert figure.axes[0].lines[:] == []


def test_pictures_can_share_a_figure(tmp_path):
    whole = learning_curve({}, quantity="loss")
    whole.clear()
    upper, lower = whole.subfigures(2, 1)
    ethanol = molecule_from_smiles("CCO")
    assert learning_curve({"train": [1.0, 0.5]}, quantity="loss", figure=upper) is upper
    attention_on_molecules([ethanol], [torch.rand(4)], figure=lower)
    whole.savefig(tmp_path / "both.png")
    assert len(pictures_of(whole)) == 1


def test_the_user_keeps_backend_and_windows():
    code = (
        "import matplotlib; matplotlib.use('svg')\n"
        "import matplotlib.pyplot as pyplot\n"
        "from graphattn.plot import learning_curve\n"
        "learning_curve({'train': [1.0]}, quantity='loss').savefig('/dev/null', format='png')\n"
        "assert matplotlib.get_backend() == 'svg', matplotlib.get_backend()\n"
        "assert pyplot.get_fignums() == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bond_shows_the_mean_over_directions_and_heads():
    ethanol = molecule_from_smiles("CCO")  # edges 0-1, 1-0, 1-2, 2-1
    weight = torch.tensor([[0.0, 0.2], [0.4, 0.6], [0.7, 0.7], [0.9, 0.9]])
    apart = attention_on_molecules([ethanol], [weight])
    merged = attention_on_molecules([ethanol], [torch.tensor([0.3, 0.3, 0.8, 0.8])])
    swapped = attention_on_molecules([ethanol], [torch.tensor([0.8, 0.8, 0.3, 0.3])])
    numpy.testing.assert_array_equal(pictures_of(apart)[0], pictures_of(merged)[0])
    assert (pictures_of(swapped)[0] != pictures_of(merged)[0]).any()


def test_the_scale_spans_all_molecules():
    ethanol, methanol = molecule_from_smiles("CCO"), molecule_from_smiles("CO")
    weights = [torch.tensor([0.5, 0.5, 0.25, 0.25]), torch.tensor([0.1, 0.1])]
    figure = attention_on_molecules([ethanol, methanol], weights, quantity="weight")
    scale = figure.axes[-1]
    assert scale.get_ylabel() == "weight"
    numpy.testing.assert_allclose(scale.get_ylim(), (0.1, 0.5), rtol=1e-6)


def test_bonds_without_an_edge_stay_uncoloured_and_loops_are_not_drawn():
    whole = molecule_from_smiles("CCO")
    half = Data(smiles="CCO", edge_index=torch.tensor([[0, 1, 1], [1, 0, 1]]))
    full_picture, half_picture = (
        pictures_of(attention_on_molecules([graph], [torch.ones(graph.num_edges)]))[0]
        for graph in (whole, half)
    )
    assert 0 < coloured_pixels(half_picture) < 0.7 * coloured_pixels(full_picture)


def test_a_single_atom_is_drawn_without_colour():
    methane = molecule_from_smiles("C")
    (picture,) = pictures_of(attention_on_molecules([methane], [torch.zeros(0, 4)]))
    assert coloured_pixels(picture) == 0
    assert float(picture[..., :3].min()) < 0.5  # the letters


def test_an_atom_shows_the_mean_over_heads_on_the_scale_of_the_bonds():
    ethanol = molecule_from_smiles("CCO")
    bonds = [torch.full((4,), 0.5)]
    apart = torch.tensor([[0.0, 0.2], [0.9, 0.7], [0.3, 0.5]])
    figure = attention_on_molecules([ethanol], bonds, atom_weights=[apart])
    merged = attention_on_molecules([ethanol], bonds, atom_weights=[apart.mean(1)])
    moved = attention_on_molecules([ethanol], bonds, atom_weights=[apart.flip(0)])
    numpy.testing.assert_array_equal(pictures_of(figure)[0], pictures_of(merged)[0])
    assert (pictures_of(moved)[0] != pictures_of(merged)[0]).any()
    numpy.testing.assert_allclose(figure.axes[-1].get_ylim(), (0.1, 0.8), rtol=1e-6)
    (alone,) = pictures_of(attention_on_molecules([ethanol], bonds))
    assert coloured_pixels(pictures_of(figure)[0]) > 1.2 * coloured_pixels(alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"molecules": [], "weights": []}, "molecules must hold at least one molecule, got none"),
        ({"weights": []}, "weights must have one entry per molecule, 1, got 0"),
        ({"captions": ["a", "b"]}, "captions must have one entry per molecule, 1, got 2"),
        ({"weights": [torch.ones(3)]}, r"weights\[0\] must be .* E = 4, got \(3,\)"),
        ({"num_columns": 0}, "num_columns must be at least 1, got 0"),
        ({"atom_weights": []}, "atom_weights must have one entry per molecule, 1, got 0"),
        ({"atom_weights": [torch.ones(4)]}, r"atom_weights must be .* N = 3 of smiles, got \(4,\)"),
        (
            {"molecules": [Data(smiles="CCO", edge_index=torch.tensor([[0], [2]]))]},
            "edge_index must run along the bonds of smiles, got 0 to 2",
        ),
        (
            {"molecules": [Data(smiles="CCO", edge_index=torch.tensor([[0], [9]]))]},
            "edge_index must run along the bonds of smiles, got 0 to 9",
        ),
        (
            {"molecules": [Data(smiles="C1C", edge_index=torch.tensor([[0], [1]]))]},
            "smiles must be a molecule RDKit can read, got 'C1C'",
        ),
    ],
)
def test_bad_input_names_what_must_hold(change, message):
    arguments = {"molecules": [molecule_from_smiles("CCO")], "weights": [torch.ones(4)], **change}
    if change.get("molecules"):
        arguments["weights"] = [torch.ones(1)]
    with pytest.raises(ValueError, match=message):
        attention_on_molecules(**arguments)


def two_sets(dim: int) -> tuple[torch.Tensor, torch.Tensor, Blocks]:
    """Points, weights of two heads; two points under three queries, none under one."""
    points = torch.arange(4.0).view(2, 2).repeat(1, 2)[:, :dim]
    weights = torch.tensor([[0.1, 0.3], [0.9, 0.7], [0.5, 0.5], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0]])
    return points, weights, Blocks.from_ptr(torch.tensor([0, 3, 4]), torch.tensor([0, 2, 2]))


@pytest.mark.parametrize("dim", [2, 3])
def test_every_query_has_the_points_of_its_set_in_the_colours_of_its_weights(dim, tmp_path):
    points, weights, blocks = two_sets(dim)
    figure = attention_on_points(points, weights, blocks, captions=list("abcd"), quantity="weight")
    figure.savefig(tmp_path / "points.png")
    *panels, scale = figure.axes
    assert [panel.get_title() for panel in panels] == list("abcd")
    shown = [panel.collections[0] for panel in panels]
    # The highest is drawn last; heads are averaged: 0.2 and 0.8, 0.5 and 0.5, 0 and 1.
    values = [numpy.asarray(cloud.get_array()).round(6).tolist() for cloud in shown]
    assert values == [[0.25, 1.0], [1.0, 1.0], [0.0, 1.0], []]
    if dim == 2:
        assert numpy.asarray(shown[0].get_offsets()).tolist() == points.tolist()
    assert scale.get_ylabel() == "weight, over the query's highest"
    numpy.testing.assert_allclose(scale.get_ylim(), (0.0, 1.0))
    assert {cloud.norm.vmax for cloud in shown} == {1.0}


def test_bars_are_bags_and_their_pieces_instances():
    sizes, labels = [3, 1, 0, 2], torch.tensor([1, 0, 1, 1])
    blocks = Blocks.from_ptr(torch.tensor([0, *sizes]).cumsum(0))
    weights = torch.tensor([0.2, 0.5, 0.3, 1.0, 0.9, 0.1])
    branches = torch.stack([weights - 0.1, weights + 0.1], dim=1)
    figure = attention_in_bags(branches, blocks, labels, quantity="weight")
    negative, positive = figure.axes
    assert [panel.get_title() for panel in (negative, positive)] == [
        "negative, 1 bags",
        "positive, 3 bags",
    ]
    assert negative.get_xlabel() == "weight, highest first"
    pieces = {
        panel: [
            (round(bar.get_y() + 0.4), round(bar.get_x(), 6), round(bar.get_width(), 6))
            for bar in panel.patches
        ]
        for panel in (negative, positive)
    }
    assert pieces[negative] == [(0, 0.0, 1.0)]
    # The bag of two dwells most on one instance; the empty one is last.
    assert pieces[positive] == [
        *[(0, 0.0, 0.9), (0, 0.9, 0.1)],
        *[(1, 0.0, 0.5), (1, 0.5, 0.3), (1, 0.8, 0.2)],
    ]
    assert [text.get_text() for text in positive.texts] == ["2", "3", "0"]


def test_no_bags_give_empty_panels(tmp_path):
    none = torch.zeros(0)
    figure = attention_in_bags(none, Blocks.from_ptr(torch.tensor([0])), none.long(), names=["all"])
    figure.savefig(tmp_path / "none.png")
    assert [len(panel.patches) for panel in figure.axes] == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(2, 4)}, r"points must be \(2, 2\) or \(2, 3\), got \(2, 4\)"),
        ({"weights": torch.zeros(5)}, r"weights must be .* with P = 6, got \(5,\)"),
        ({"captions": ["a"]}, "captions must have one entry per query, 4, got 1"),
        ({"blocks": two_sets(2)[2].seeds(0)}, "blocks must have a query to draw, got none"),
    ],
)
def test_bad_points_are_named(change, message):
    points, weights, blocks = two_sets(2)
    arguments = {"points": points, "weights": weights, "blocks": blocks, **change}
    with pytest.raises(ValueError, match=message):
        attention_on_points(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": torch.zeros(2)}, ValueError, r"weights must be .* with N = 3, got \(2,\)"),
        ({"labels": torch.zeros(2)}, TypeError, r"labels must be an int64 tensor, got torch.float"),
        ({"labels": torch.zeros(3).long()}, ValueError, r"labels must be \(2,\), got \(3,\)"),
        ({"labels": torch.tensor([0, 2])}, ValueError, r"labels must lie in \[0, 2\), got 2"),
        ({"names": []}, ValueError, "names must hold at least one label, got none"),
        ({"blocks": 3}, TypeError, r"blocks must be a graphattn\.Blocks, got int"),
    ],
)
def test_bad_bags_are_named(change, error, message):
    arguments = {
        "weights": torch.zeros(3),
        "blocks": Blocks.from_ptr(torch.tensor([0, 1, 3])),
        "labels": torch.tensor([0, 1]),
        **change,
    }
    with pytest.raises(error, match=message):
        attention_in_bags(**arguments)


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install graphattn\[plot\]"):
        learning_curve({}, quantity="loss")


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_picture_is_the_same_file(suffix: str, tmp_path: Path) -> None:
    paths = [tmp_path / "made" / f"{name}.{suffix}" for name in ("one", "two")]
    for path in paths:
        figure = learning_curve({"train": [3.0, 1.0, 2.0]}, quantity="loss")
        assert save_picture(figure, path) == path
    assert paths[0].read_bytes() == paths[1].read_bytes()
