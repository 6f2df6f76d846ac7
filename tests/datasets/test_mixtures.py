"""Generated sets: what the generator promises, checked against plain definitions."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from graphattn.datasets.mixtures import (
    DrawnBatches,
    gaussian_mixtures,
    mixture_log_likelihood,
    number_sets,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("width", [1, 3], ids=["one deviation", "one for each direction"])
def test_the_log_likelihood_is_that_of_pytorch(width: int) -> None:
    data = gaussian_mixtures(5, 20, num_components=3, dim=3)
    deviation = torch.rand(5, 3, width) + 0.1
    components = Independent(Normal(data.mean, deviation.expand(5, 3, 3)), 1)
    mixture = MixtureSameFamily(Categorical(logits=data.log_weight), components)
    expected = mixture.log_prob(data.points.transpose(0, 1)).transpose(0, 1)
    actual = mixture_log_likelihood(data.points, data.log_weight, data.mean, deviation)
    assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_a_component_without_weight_has_finite_gradients() -> None:
    data = gaussian_mixtures(2, 10)
    logits = torch.tensor([0.0, -200.0, 0.0, 0.0]).expand(2, 4).clone().requires_grad_()
    log_likelihood = mixture_log_likelihood(
        data.points, logits.log_softmax(-1), data.mean, data.deviation
    )
    log_likelihood.mean().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_points_lie_about_the_means_of_their_components() -> None:
    data = gaussian_mixtures(200, 500, generator=seeded())
    owner = data.component[..., None].expand(-1, -1, 2)
    distance = data.points - data.mean.gather(1, owner)
    # 200,000 draws: the error of mean and deviation is under 0.001.
    assert abs(float(distance.mean())) < 0.005
    assert abs(float(distance.std()) - 0.3) < 0.005
    assert data.mean.abs().max() <= 4
    assert abs(float(data.mean.std()) - 8 / math.sqrt(12)) < 0.2
    weight = data.log_weight.exp()
    assert_close(weight.sum(1), torch.ones(200))
    # A flat Dirichlet of four: the variance of each part is 3 / 80.
    assert abs(float(weight.var()) - 3 / 80) < 0.006
    shares = torch.nn.functional.one_hot(data.component, 4).float().mean(1)
    assert (shares - weight).abs().mean() < 0.02


def test_the_oracle_is_near_the_published_one() -> None:
    # Published for the authors' own draws of 1,000 sets: -1.4726; the spread over such is 0.02.
    data = gaussian_mixtures(4000, 400, generator=seeded())
    assert abs(float(data.log_likelihood().mean()) + 1.4726) < 0.03


def test_every_set_has_its_largest_number_and_every_size_is_as_likely() -> None:
    data = number_sets(5000, max_size=10, generator=seeded())
    sets = data.numbers.split(data.ptr.diff().tolist())
    assert_close(data.largest, torch.stack([own.amax(0) for own in sets]), rtol=0, atol=0)
    counts = data.ptr.diff().bincount(minlength=11)
    assert counts[0] == 0
    assert (counts[1:] - 500).abs().max() < 100
    assert data.numbers.min() >= 0
    assert 99 < data.numbers.max() <= 100
    assert abs(float(data.numbers.mean()) - 50) < 1


def test_a_generator_fixes_the_draws() -> None:
    for draw in (
        lambda seed: gaussian_mixtures(2, 5, generator=seeded(seed)).points,
        lambda seed: number_sets(9, generator=seeded(seed)).largest,
    ):
        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))


def test_no_sets_are_empty_tensors() -> None:
    assert gaussian_mixtures(0, 5).log_likelihood().shape == (0, 5)
    assert gaussian_mixtures(3, 0).points.shape == (3, 0, 2)
    assert number_sets(0).numbers.shape == (0, 1)
    assert number_sets(0).ptr.tolist() == [0]


def test_batches_differ_in_every_pass_and_follow_the_seed_of_pytorch() -> None:
    batches = DrawnBatches(lambda generator: (torch.rand(2, generator=generator),), 3)
    torch.manual_seed(1)
    first, second = list(batches), list(batches)
    assert len(batches) == len(first) == 3
    every = torch.stack([batch[0] for batch in first + second])
    assert len(every.unique(dim=0)) == 6
    torch.manual_seed(1)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(batches, first, strict=True))


def test_batches_with_a_seed_are_the_same_in_every_pass_and_draw_from_nothing_else() -> None:
    batches = DrawnBatches(lambda generator: (torch.rand(2, generator=generator),), 3, seed=5)
    state = torch.get_rng_state()
    first, second = list(batches), list(batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(first, second, strict=True))
    assert not torch.equal(first[0][0], first[1][0])


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="num_sets and num_points must be at least 0"):
        gaussian_mixtures(-1, 5)
    with pytest.raises(ValueError, match="num_components and dim at least 1"):
        gaussian_mixtures(1, 5, num_components=0)
    with pytest.raises(ValueError, match="max_size at least 1"):
        number_sets(3, max_size=0)
    data = gaussian_mixtures(2, 5)
    with pytest.raises(ValueError, match=r"must be \(B, N, D\)"):
        mixture_log_likelihood(data.points[0], data.log_weight, data.mean, data.deviation)
    with pytest.raises(ValueError, match=r"must be \(B, N, D\)"):
        mixture_log_likelihood(data.points, data.log_weight, data.mean[..., :1], data.deviation)
