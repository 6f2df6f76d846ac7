"""Makes Markdown of what docstrings hold besides: formulas, tables, examples at the prompt."""

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

_BLOCK = re.compile(r"^([ ]*)\.\. math::\n((?:\1[ ]+\S.*\n?)+)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]+)`")
_TABLE = re.compile(r"^([ ]*)=+ [= ]+\n(?:.+\n)*\1=+ [= ]+\n(?=\n|\Z)", re.MULTILINE)
_EXAMPLE = re.compile(r"^([ ]*)>>> .*\n?(?:\1(?:>>>|\.\.\.) .*\n?)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites every docstring once, as it is read.

    Formulas become MathML, which browsers show by themselves: pages need no script and no network.
    """

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(docstring: str) -> str:
    """A docstring whose formulas are MathML, and whose tables and examples are blocks of code."""
    docstring = _BLOCK.sub(_block, docstring)
    docstring = _INLINE.sub(lambda found: _formula(found[1], "inline"), docstring)
    docstring = _TABLE.sub(lambda found: _fenced(found[0], found[1]), docstring)
    return _EXAMPLE.sub(_example, docstring)


def _block(found: re.Match[str]) -> str:
    return f"{found[1]}<p>{_formula(found[2], 'block')}</p>\n"


def _formula(latex: str, display: str) -> str:
    words = " ".join(latex.split()).replace(r"\big\Vert", r"\Vert")  # the converter's one gap
    return str(convert(words, display=display))


def _example(found: re.Match[str]) -> str:
    lines = (line[len(found[1]) + 4 :] for line in found[0].splitlines())
    return textwrap.indent(_fenced("\n".join(lines) + "\n", "", "python"), found[1])


def _fenced(text: str, indent: str, language: str = "text") -> str:
    return f"{indent}```{language}\n{text}{indent}```\n"
