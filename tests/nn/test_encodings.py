"""Encodings with parameters or with chance: stored results, PyG's, formulas, what they refuse."""

from pathlib import Path

import pytest
import torch
from golden_arrays import TOLERANCES
from official import Stored
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.nn.models.schnet import GaussianSmearing
from torch_geometric.utils import degree

from graphattn.nn.graph_transformers.encodings import (
    DegreeEncoding,
    GaussianDistance,
    RadialBasis,
    RandomSignFlip,
)


def test_signs_are_drawn_for_each_graph_and_vector() -> None:
    batch = torch.arange(64).repeat_interleave(3)
    vectors = torch.randn(192, 5)
    flip = RandomSignFlip()
    sign = (flip(vectors, batch) / vectors).view(64, 3, 5)
    assert_close(sign.abs(), torch.ones_like(sign))
    assert_close(sign, sign[:, :1].expand_as(sign))  # one for the nodes of a graph
    assert 100 < int((sign[:, 0] > 0).sum()) < 220  # of 320, about half
    assert len(sign[:, 0].unique(dim=0)) > 16  # graphs, and vectors, have their own
    one = flip(vectors) / vectors
    assert_close(one, one[:1].expand_as(one))


def test_signs_stay_in_evaluation() -> None:
    vectors = torch.randn(6, 2)
    assert torch.equal(RandomSignFlip().eval()(vectors), vectors)
    assert RandomSignFlip()(vectors[:0], torch.zeros(0, dtype=torch.int64)).shape == (0, 2)


def test_signs_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match="vectors must be"):
        RandomSignFlip()(torch.randn(6))
    with pytest.raises(ValueError, match="batch must be"):
        RandomSignFlip()(torch.randn(6, 2), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(TypeError, match="floating-point"):
        RandomSignFlip()(torch.ones(6, 2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_degrees_are_encoded_as_by_graphormer(dtype: torch.dtype, golden_folder: Path) -> None:
    stored = Stored(golden_folder / "graphormer" / "node_feature_0.npz", dtype)
    parameters = stored.part("param")
    weights = [parameters[f"{way}_degree_encoder.weight"] for way in ("in", "out")]
    encoding = DegreeEncoding(weights[0].shape[1], max_degree=len(weights[0]) - 1).to(dtype)
    encoding.load_state_dict(
        dict(zip(("in_degree.weight", "out_degree.weight"), weights, strict=True))
    )
    atoms = parameters["atom_encoder.weight"][stored.inputs["x"]].sum(-2)
    found = atoms + encoding(stored.inputs["in_degree"], stored.inputs["out_degree"])
    stored.assert_near(found, stored.part("out")["out"][:, 1:], "node features")


def test_larger_degrees_count_as_the_largest() -> None:
    encoding = DegreeEncoding(3, max_degree=2)
    star = torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]])
    ways = [degree(star[row], 5, dtype=torch.long) for row in (1, 0)]
    found = encoding(*ways)
    into, out = encoding.in_degree.weight, encoding.out_degree.weight
    assert_close(found[0], into[2] + out[0])
    assert_close(found[1:], (into[0] + out[1]).expand(4, 3))
    assert_close(encoding(ways[0])[0], into[2] + out[2])


def test_degrees_refuse_other_types_and_shapes() -> None:
    encoding = DegreeEncoding(3)
    with pytest.raises(TypeError, match="in_degree must be an int64"):
        encoding(torch.ones(4))
    with pytest.raises(ValueError, match="one shape"):
        encoding(torch.ones(4, dtype=torch.int64), torch.ones(3, dtype=torch.int64))
    for channels, most in ((0, 3), (3, -1)):
        with pytest.raises(ValueError, match="channels must be"):
            DegreeEncoding(channels, most)


def density(distance: Tensor, layer: GaussianDistance, pair_type: Tensor) -> Tensor:
    """As PyTorch's own normal distributions have it."""
    place = layer.scale[pair_type] * distance + layer.shift[pair_type]
    normal = torch.distributions.Normal(layer.means, layer.widths.abs() + 1e-5)
    return normal.log_prob(place.unsqueeze(-1)).exp()


def test_distances_are_densities_of_normal_distributions() -> None:
    layer = GaussianDistance(6, num_pair_types=3).double()
    with torch.no_grad():
        layer.widths[0] *= -1.0
        layer.scale.normal_()
        layer.shift.normal_()
    distance, pair_type = torch.rand(4, 5).double() * 3, torch.randint(3, (4, 5))
    found = layer(distance, pair_type)
    assert found.shape == (4, 5, 6)
    assert_close(found, density(distance, layer, pair_type))
    first = torch.zeros_like(pair_type)
    assert_close(layer(distance), density(distance, layer, first))
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_bumps_are_those_of_pyg() -> None:
    distance = torch.rand(20) * 6
    official, ours = GaussianSmearing(0.5, 4.0, 12), RadialBasis(12, 0.5, 4.0)
    assert_close(ours(distance), official(distance))
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    learned = RadialBasis(12, 0.5, 4.0, is_learned=True)
    assert_close(learned(distance.view(4, 5)), official(distance).view(4, 5, 12))
    learned(distance).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in learned.parameters())


def test_distances_refuse_other_types_and_shapes() -> None:
    for layer in (GaussianDistance(3), RadialBasis(3)):
        with pytest.raises(TypeError, match="distance must be"):
            layer(torch.ones(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="pair_type must be"):
        GaussianDistance(3, 2)(torch.rand(4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="num_kernels"):
        GaussianDistance(0)
    with pytest.raises(ValueError, match="2 centres"):
        RadialBasis(1)
    with pytest.raises(ValueError, match="larger stop"):
        RadialBasis(5, 2.0, 2.0)
