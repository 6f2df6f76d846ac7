"""Encodings with parameters, or with chance: signs, degrees, distances."""

from math import pi

import torch
from torch import Tensor, nn

from graphattn.nn.elements import check_floating


class RandomSignFlip(nn.Module):
    """Draws the signs of eigenvectors anew, for each graph and each vector; in training alone.

    Eigenvectors are known up to their sign. A network that sees either sign as often learns not to
    depend on it.

    Shapes:
        - vectors: ``(N, k)``, such as Laplacian eigenvectors
        - batch: graph of each node, ``(N,)``, int64; without it, all nodes are of one graph
        - output: ``(N, k)``; in evaluation, ``vectors``

    Raises:
        TypeError: If ``vectors`` is not floating point.
        ValueError: If a shape is wrong.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021, where all graphs of a batch share their signs.
    """

    def forward(self, vectors: Tensor, batch: Tensor | None = None) -> Tensor:
        check_floating("vectors", vectors)
        if vectors.ndim != 2:
            raise ValueError(f"vectors must be (N, k), got {tuple(vectors.shape)}")
        if batch is not None and batch.shape != vectors.shape[:1]:
            raise ValueError(f"batch must be ({vectors.shape[0]},), got {tuple(batch.shape)}")
        if not self.training or vectors.shape[0] == 0:
            return vectors
        num_graphs = 1 if batch is None else int(batch.max()) + 1
        signs = 2.0 * torch.randint(2, (num_graphs, vectors.shape[1]), device=vectors.device) - 1.0
        signs = signs.to(vectors.dtype)
        return vectors * (signs if batch is None else signs[batch])


class DegreeEncoding(nn.Module):
    r"""Learned vectors for the number of edges at a node: the centrality encoding of Graphormer.

    .. math::
        h_i = z^-_{\deg^-(i)} + z^+_{\deg^+(i)}

    Args:
        channels: Width of the vectors.
        max_degree: What larger degrees count as.

    Shapes:
        - in_degree: ``(...)``, int64, such as ``degree(edge_index[1], N, dtype=torch.long)`` with
          PyG's ``torch_geometric.utils.degree``
        - out_degree: likewise; without it, ``in_degree``, which it equals on undirected graphs
        - output: ``(..., channels)``

    Raises:
        TypeError: If degrees are not int64.
        ValueError: If ``channels`` is less than one, ``max_degree`` negative, or the degrees have
            two shapes.

    Source: Ying et al., "Do Transformers Really Perform Badly for Graph Representation?"
        (Graphormer), NeurIPS 2021.
    """

    def __init__(self, channels: int, max_degree: int = 511) -> None:
        super().__init__()
        if channels < 1 or max_degree < 0:
            raise ValueError(
                "channels must be at least 1 and max_degree at least 0, got"
                f" {channels} and {max_degree}"
            )
        self.max_degree = max_degree
        self.in_degree = nn.Embedding(max_degree + 1, channels)
        self.out_degree = nn.Embedding(max_degree + 1, channels)

    def forward(self, in_degree: Tensor, out_degree: Tensor | None = None) -> Tensor:
        out_degree = in_degree if out_degree is None else out_degree
        for name, degree in (("in_degree", in_degree), ("out_degree", out_degree)):
            if not isinstance(degree, Tensor) or degree.dtype != torch.int64:
                got = degree.dtype if isinstance(degree, Tensor) else type(degree).__name__
                raise TypeError(f"{name} must be an int64 tensor, got {got}")
        if in_degree.shape != out_degree.shape:
            raise ValueError(
                "in_degree and out_degree must have one shape, got"
                f" {tuple(in_degree.shape)} and {tuple(out_degree.shape)}"
            )
        of_in = self.in_degree(in_degree.clamp(max=self.max_degree))
        return of_in + self.out_degree(out_degree.clamp(max=self.max_degree))


class GaussianDistance(nn.Module):
    r"""Distances as densities of learned normal distributions: those of Graphormer in space.

    .. math::
        \psi_k(d) = \frac{1}{\sqrt{2 \pi}\, \sigma_k} \exp\Bigl(
            -\tfrac{1}{2} \bigl(\tfrac{\gamma_t d + \beta_t - \mu_k}{\sigma_k}\bigr)^2\Bigr)

    Args:
        num_kernels: Number of distributions.
        num_pair_types: Number of types ``t`` that have a scale γ and a shift β of their own, such
            as pairs of elements.

    Shapes:
        - distance: ``(...)``, in the unit that the parameters are to have, such as ångström: means
          and widths begin between 0 and 3
        - pair_type: ``(...)``, int64; without it, all are of type 0
        - output: ``(..., num_kernels)``

    Raises:
        TypeError: If ``distance`` is not floating point.
        ValueError: If a number is less than one, or ``pair_type`` has another shape.

    Source: Shi et al., "Benchmarking Graphormer on Large-Scale Molecular Modeling Datasets", 2022,
        and the official code, from which π differs in the seventh digit.
    """

    def __init__(self, num_kernels: int, num_pair_types: int = 1) -> None:
        super().__init__()
        if num_kernels < 1 or num_pair_types < 1:
            raise ValueError(
                "num_kernels and num_pair_types must be at least 1, got"
                f" {num_kernels} and {num_pair_types}"
            )
        self.means = nn.Parameter(torch.empty(num_kernels))
        self.widths = nn.Parameter(torch.empty(num_kernels))
        self.scale = nn.Parameter(torch.empty(num_pair_types))
        self.shift = nn.Parameter(torch.empty(num_pair_types))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws means and widths anew; scales become one and shifts zero."""
        nn.init.uniform_(self.means, 0.0, 3.0)
        nn.init.uniform_(self.widths, 0.0, 3.0)
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, distance: Tensor, pair_type: Tensor | None = None) -> Tensor:
        check_floating("distance", distance)
        if pair_type is None:
            scale, shift = self.scale[0], self.shift[0]
        elif pair_type.shape != distance.shape:
            raise ValueError(
                f"pair_type must be {tuple(distance.shape)}, as distance, got"
                f" {tuple(pair_type.shape)}"
            )
        else:
            scale, shift = self.scale[pair_type], self.shift[pair_type]
        width = self.widths.abs() + 1e-5
        place = ((scale * distance + shift).unsqueeze(-1) - self.means) / width
        return torch.exp(-0.5 * place.square()) / ((2 * pi) ** 0.5 * width)


class RadialBasis(nn.Module):
    r"""Distances as bumps at evenly spaced centres: those of SchNet.

    .. math::
        \phi_k(d) = \exp\Bigl(-\tfrac{1}{2} \bigl(\tfrac{d - \mu_k}{\sigma_k}\bigr)^2\Bigr)

    Args:
        num_kernels: Number of centres.
        start: The first centre.
        stop: The last centre.
        is_learned: Trains centres and widths, which begin as they otherwise stay: evenly spaced,
            each as wide as the space between two.

    Shapes:
        - distance: ``(...)``, in the unit of ``start`` and ``stop``, such as ångström
        - output: ``(..., num_kernels)``

    Raises:
        TypeError: If ``distance`` is not floating point.
        ValueError: If there are not two centres, or ``stop`` is not past ``start``.

    Source: Schütt et al., "SchNet", NeurIPS 2017, as PyG's ``GaussianSmearing``; learned centres as
        in PhysNet, J. Chem. Theory Comput. 2019, without its exponential scale.
    """

    def __init__(
        self, num_kernels: int = 50, start: float = 0.0, stop: float = 5.0, is_learned: bool = False
    ) -> None:
        super().__init__()
        if num_kernels < 2 or stop <= start:
            raise ValueError(
                "there must be at least 2 centres between start and a larger stop, got"
                f" {num_kernels} between {start} and {stop}"
            )
        space = (stop - start) / (num_kernels - 1)
        centers = torch.linspace(start, stop, num_kernels)
        self.centers = nn.Parameter(centers, requires_grad=is_learned)
        self.widths = nn.Parameter(torch.full_like(centers, space), requires_grad=is_learned)

    def forward(self, distance: Tensor) -> Tensor:
        check_floating("distance", distance)
        place = (distance.unsqueeze(-1) - self.centers) / self.widths
        return torch.exp(-0.5 * place.square())
