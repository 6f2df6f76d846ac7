"""The Set Transformer: a set in, a few vectors out, whatever the order of the elements."""

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_dense_or_sets
from graphattn.nn.sets.set_transformer_blocks import ISAB, PAPER, PMA, SAB, BlockForm


class SetTransformer(nn.Module):
    r"""Two blocks among the elements, pooling by seeds, two blocks among the seeds, a linear map.

    .. math::
        z = \mathrm{ISAB}(\mathrm{ISAB}(x)), \qquad
        \mathrm{out} = W \, \mathrm{SAB}(\mathrm{SAB}(\mathrm{PMA}(z)))

    Args:
        in_channels: Width of the elements.
        out_channels: Width of each output.
        num_outputs: Number of outputs for each set, and of seeds.
        channels: Width of all blocks.
        num_induced_points: Number of learned points of each ``ISAB``; ``None`` takes ``SAB`` in its
            place, whose cost grows with the square of the set.
        form: What the blocks compute: ``PAPER``, or ``OFFICIAL_CODE`` for what the authors ran.

    Shapes:
        - x: ``(B, N, in_channels)``, or with ``blocks`` ``(N, in_channels)``, set after set
        - output: ``(B, num_outputs, out_channels)``, with ``blocks`` one for each set; an empty set
          gives what the seeds give without attention

    Raises:
        TypeError: If ``x`` is no floating-point tensor.
        ValueError: If ``form.heads`` does not divide ``channels``, a count is less than one, or a
            shape does not fit.

    Source: Lee et al., "Set Transformer", ICML 2019. Where the residual is the element itself, a
        linear map first brings elements to ``channels``; the paper leaves open how. With
        ``OFFICIAL_CODE`` the network is that of the authors' code, which has none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_outputs: int = 1,
        channels: int = 128,
        num_induced_points: int | None = 32,
        form: BlockForm = PAPER,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.embedding = None if form.project_residual else nn.Linear(in_channels, channels)
        widths = (in_channels if form.project_residual else channels, channels)
        self.encoder = nn.ModuleList(
            SAB(width, channels, form)
            if num_induced_points is None
            else ISAB(width, channels, num_induced_points, form)
            for width in widths
        )
        self.pooling = PMA(channels, num_outputs, form)
        self.decoder = nn.Sequential(
            SAB(channels, channels, form),
            SAB(channels, channels, form),
            nn.Linear(channels, out_channels),
        )

    def forward(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Reads sets; see the class for shapes."""
        check_dense_or_sets("x", x, self.in_channels, blocks)
        if self.embedding is not None:
            x = self.embedding(x)
        for block in self.encoder:
            x = block(x, blocks=blocks)
        output: Tensor = self.decoder(self.pooling(x, blocks=blocks))
        return output
