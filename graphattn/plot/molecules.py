"""Attention drawn on the bonds and atoms of molecules."""

import io
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from graphattn.plot.figures import colour_scale, new_figure


def attention_on_molecules(
    molecules: Sequence[Any],
    weights: Sequence[Tensor],
    *,
    atom_weights: Sequence[Tensor] | None = None,
    captions: Sequence[str] | None = None,
    quantity: str = "attention",
    num_columns: int = 3,
    figure: Any | None = None,
) -> Any:
    """Draws molecules side by side, each bond coloured by the weight of its edges.

    A bond shows the mean over both directions and all heads, an atom that over all heads; all
    molecules share one scale.

    Args:
        molecules: Graphs with ``smiles``, whose atoms are the nodes in that order, and with
            ``edge_index``, ``(2, E)``; edges from a node to itself are not drawn.
        weights: For each molecule ``(E,)`` or ``(E, H)``, in the order of its ``edge_index``.
        atom_weights: For each molecule ``(N,)`` or ``(N, H)``, such as what its atoms receive where
            all attend to all; without it, atoms stay uncoloured.
        captions: A line of text for above each molecule.
        quantity: What the weights are: the label of the colour scale.
        num_columns: Molecules in a row.
        figure: A matplotlib figure or subfigure to draw into; a new one without it.

    Returns:
        The matplotlib figure (or the subfigure given). Bonds without an edge stay uncoloured.

    Raises:
        ValueError: If there is no molecule, if lengths do not match, if a ``smiles`` does not parse
            or has fewer atoms than the edges name, or if an edge runs along no bond.
        ImportError: If RDKit or matplotlib is not installed.
    """
    _check_molecules(molecules, weights, atom_weights, captions, num_columns)
    parsed = [_parse(molecule.smiles) for molecule in molecules]
    of_atoms: list[dict[int, float]] = [{} for _ in parsed]
    if atom_weights is not None:
        of_atoms = [_atom_values(*pair) for pair in zip(parsed, atom_weights, strict=True)]
    of_bonds = [
        _bond_values(mol, molecule.edge_index, weight)
        for mol, molecule, weight in zip(parsed, molecules, weights, strict=True)
    ]
    num_rows = math.ceil(len(molecules) / num_columns)
    figure = new_figure(3.0 * num_columns + 0.8, 2.6 * num_rows) if figure is None else figure
    shown = [value for values in (*of_atoms, *of_bonds) for value in values.values()]
    scale = colour_scale(shown)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, mol in enumerate(parsed):
        atoms, bonds = (
            {number: tuple(scale.to_rgba(value)) for number, value in values[index].items()}
            for values in (of_atoms, of_bonds)
        )
        axis = axes.flat[index]
        axis.imshow(_picture(mol, atoms, bonds), interpolation="antialiased")
        if captions is not None:
            axis.set_title(captions[index], fontsize=9)
    figure.colorbar(scale, ax=axes, label=quantity, shrink=0.8, pad=0.02)
    return figure


def _check_molecules(
    molecules: Sequence[Any],
    weights: Sequence[Tensor],
    atom_weights: Sequence[Tensor] | None,
    captions: Sequence[str] | None,
    num_columns: int,
) -> None:
    if len(molecules) == 0:
        raise ValueError("molecules must hold at least one molecule, got none")
    if num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}")
    lists = (("weights", weights), ("atom_weights", atom_weights), ("captions", captions))
    for name, given in lists:
        if given is not None and len(given) != len(molecules):
            raise ValueError(
                f"{name} must have one entry per molecule, {len(molecules)}, got {len(given)}"
            )
    for index, (molecule, weight) in enumerate(zip(molecules, weights, strict=True)):
        num_edges = molecule.edge_index.shape[1]
        if weight.ndim not in (1, 2) or weight.shape[0] != num_edges:
            raise ValueError(
                f"weights[{index}] must be (E,) or (E, H) with E = {num_edges}, "
                f"got {tuple(weight.shape)}"
            )


def _parse(smiles: str) -> Any:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise ImportError("molecules need RDKit: pip install graphattn[molecules]") from error
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"smiles must be a molecule RDKit can read, got {smiles!r}")
    return molecule


def _atom_values(molecule: Any, weight: Tensor) -> dict[int, float]:
    """Means the weights of each atom over the heads."""
    num_atoms = molecule.GetNumAtoms()
    if weight.ndim not in (1, 2) or weight.shape[0] != num_atoms:
        raise ValueError(
            f"atom_weights must be (N,) or (N, H) with N = {num_atoms} of smiles, "
            f"got {tuple(weight.shape)}"
        )
    return dict(enumerate(weight.detach().double().unsqueeze(-1).flatten(1).mean(1).tolist()))


def _bond_values(molecule: Any, edge_index: Tensor, weight: Tensor) -> dict[int, float]:
    """Means the weights of all edges along a bond, for every bond that has one."""
    per_edge = weight.detach().double().unsqueeze(-1).flatten(1).mean(1).tolist()
    collected: dict[int, list[float]] = {}
    for (source, target), value in zip(edge_index.t().tolist(), per_edge, strict=True):
        if source == target:
            continue
        inside = max(source, target) < molecule.GetNumAtoms()
        bond = molecule.GetBondBetweenAtoms(source, target) if inside else None
        if bond is None:
            raise ValueError(
                f"edge_index must run along the bonds of smiles, got {source} to {target}"
            )
        collected.setdefault(bond.GetIdx(), []).append(value)
    return {bond: sum(found) / len(found) for bond, found in collected.items()}


def _picture(
    molecule: Any, atoms: dict[int, tuple[float, ...]], bonds: dict[int, tuple[float, ...]]
) -> Any:
    """Draws a molecule in the colours of its parts: an image, ``(height, width, 4)``."""
    from matplotlib import image
    from rdkit.Chem.Draw import rdMolDraw2D

    drawing = rdMolDraw2D.MolDraw2DCairo(720, 540)
    options: Any = drawing.drawOptions()
    options.useBWAtomPalette()  # the colours are for the weights
    options.atomHighlightsAreCircles = True
    options.highlightRadius = 0.4  # of an ångström: wider than the bonds
    options.highlightBondWidthMultiplier = 12
    options.fixedBondLength = 60
    options.minFontSize, options.maxFontSize = 22, 32
    options.bondLineWidth = 3
    options.padding = 0.04
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawing,
        molecule,
        highlightAtoms=list(atoms),
        highlightAtomColors=atoms,
        highlightBonds=list(bonds),
        highlightBondColors=bonds,
    )
    drawing.FinishDrawing()
    return image.imread(io.BytesIO(drawing.GetDrawingText()), format="png")
