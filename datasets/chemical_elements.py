"""The symbols of the chemical elements, by which files name atoms."""

_PERIODIC_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es
Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS: tuple[str, ...] = tuple(_PERIODIC_TABLE.split())
"""In the order of their atomic numbers: hydrogen, which has number 1, stands at place 0."""

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}


def atomic_number(symbol: str) -> int:
    """The atomic number of an element, from 1 to 118.

    Args:
        symbol: Such as ``"Fe"``; isotopes have no symbols of their own here.

    Raises:
        ValueError: If there is no such element.
    """
    if symbol not in _NUMBERS:
        raise ValueError(f"unknown element {symbol!r}")
    return _NUMBERS[symbol]
