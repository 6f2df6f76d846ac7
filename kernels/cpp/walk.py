"""The frame of every pass: chunks of edges in parallel, row by row, the same bits always."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from graphattn.kernels.cpp.layout import position_type
from graphattn.kernels.cpp.prelude import prelude
from graphattn.kernels.cpp.printer import indented
from graphattn.kernels.edge_attention.rows import End, Kind


@dataclass(frozen=True)
class Pass:
    """The parts of a pass that differ from pass to pass; each is C++.

    Attributes:
        name: Of its function.
        comment: What it computes.
        end: The end of the edges that its rows are.
        fields: What is gathered over a row's edges: names and numbers of elements.
        merge: Adds ``other``, what a later chunk gathered for the same row, to ``row``.
        clear: Sets ``row`` to what no edge gives, where that is not zero.
        parameters: Types and names of its parameters but for those that every pass has.
        shared: What is the same for all edges.
        chunk: What is done before a chunk's first row.
        row: Pointers to what belongs to the row.
        edge: What is done for each edge.
        finish: Writes what a row's edges gave.
        finale: What is done after all rows.
        types: ``using`` declarations.
        kind: Of the rows.
        uses_halves: Whether anything is kept in half precision.
    """

    name: str
    comment: str
    end: End
    fields: list[tuple[str, int]]
    merge: str
    parameters: list[tuple[str, str]]
    edge: str
    types: str
    kind: Kind
    uses_halves: bool
    clear: str = ""
    shared: str = ""
    chunk: str = ""
    row: str = ""
    finish: str = ""
    finale: str = ""

    def source(self) -> str:
        """The text of the pass: a namespace, and in it a C function of the pass's name."""
        index = position_type(self.kind)
        given = [
            ("const int64_t*", "ptr"),
            (f"const {index}*", "neighbor"),
            (f"const {index}*", "order"),
            (f"const {index}*", "twin"),
            ("sum_t", "scale"),
            *self.parameters,
        ]
        zero = "\n".join(
            f"for (int i = 0; i < {size}; ++i) row.{name}[i] = 0;" for name, size in self.fields
        )
        of_finish = _used(given, self.finish)
        body = (self.shared, self.chunk, self.row, self.edge, "ptr neighbor order")
        of_walk = [p for p in given if p in _used(given, "\n".join(body)) or p in of_finish]
        return _TEMPLATE.format(
            name=self.name,
            types=self.types,
            comment=self.comment,
            end=self.end,
            fields=" ".join(f"sum_t {name}[{size}];" for name, size in self.fields),
            clear=indented("\n".join(filter(None, [zero, self.clear])), 2),
            merge=indented(self.merge, 2),
            given=_declared(given),
            walk_given=_declared(of_walk, "__restrict "),
            walk_names=", ".join(name for _, name in of_walk),
            finish_given=_declared(of_finish, "__restrict "),
            finish_names=", ".join(["row", *(name for _, name in of_finish)]),
            shared=indented("\n".join(filter(None, [self.shared, self.chunk])), 2),
            row=indented(self.row, 4),
            edge=indented(self.edge, 6),
            finish=indented(self.finish, 2),
            finale=indented(self.finale, 2),
        )


def _used(parameters: list[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    words = set(re.findall(r"\w+", text))
    return [(kind, name) for kind, name in parameters if name in words]


def _declared(parameters: list[tuple[str, str]], qualifier: str = "") -> str:
    return "".join(
        f",\n    {kind} {qualifier if kind.endswith('*') else ''}{name}"
        for kind, name in parameters
    )


def translation_unit(passes: Sequence[Pass]) -> str:
    """The text of several passes, as it is compiled."""
    uses_halves = any(one.uses_halves for one in passes)
    draws = any(one.kind.layout == "blocks" for one in passes)
    return "\n".join([prelude(uses_halves, draws), *(one.source() for one in passes)])


# Double braces are braces of C++. What a worker does is decided by the structure alone, and what
# several found of one row is merged in order: the bits do not depend on the number of threads.
# The passes are functions of their own, so that the compiler knows that no two pointers overlap.
_TEMPLATE = """\
namespace {name}_pass {{
{types}

// What the edges of a row have given so far.
struct Row {{ {fields} }};

static inline void clear(Row& row) {{
  {clear}
}}

static inline void merge(Row& row, const Row& other) {{
  {merge}
}}

static inline void finish(
    int64_t {end}, const Row& row{finish_given}) {{
  {finish}
}}

// {comment}
static void walk(
    int64_t chunk, const int64_t* rows, const int64_t* cuts, Row* parts{walk_given}) {{
  {shared}
  const int64_t start = cuts[chunk], stop = cuts[chunk + 1];
  const int64_t end_row = rows[chunk + 1] + (stop > ptr[rows[chunk + 1]]);
  for (int64_t {end} = rows[chunk]; {end} < end_row; ++{end}) {{
    const int64_t first = std::max(ptr[{end}], start), last = std::min(ptr[{end} + 1], stop);
    Row row;
    clear(row);
    {row}
    for (int64_t position = first; position < last; ++position) {{
      {edge}
    }}
    if (first == ptr[{end}] && last == ptr[{end} + 1]) finish({end}, {finish_names});
    else parts[2 * chunk + (first == ptr[{end}])] = row;
  }}
}}

extern "C" void {name}(
    int64_t num_chunks, int num_threads, const int64_t* rows, const int64_t* cuts,
    void* memory{given}) {{
  Row* parts = static_cast<Row*>(memory);
  // One chunk needs no second thread, whose start would cost more than the chunk.
  const int team = static_cast<int>(std::min<int64_t>(num_threads, num_chunks));
  #pragma omp parallel for schedule(dynamic) num_threads(team)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk)
    walk(chunk, rows, cuts, parts, {walk_names});
  // Rows that are cut: the part of the chunk in which they begin, then those of the next ones.
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {{
    const int64_t {end} = rows[chunk + 1];
    if (cuts[chunk + 1] <= ptr[{end}] || ptr[{end}] < cuts[chunk]) continue;
    Row row = parts[2 * chunk + 1];
    for (int64_t next = chunk + 1; next < num_chunks && cuts[next] < ptr[{end} + 1]; ++next)
      merge(row, parts[2 * next]);
    finish({end}, {finish_names});
  }}
  {finale}
}}
}}  // namespace {name}_pass
"""
