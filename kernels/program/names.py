"""Identifiers for the values of a program, in the languages that it is printed in."""


def identifier(name: str) -> str:
    """A value's name as an identifier of C++ and Python.

    ``%add_0`` is ``add_0``, an input ``q`` is ``in_q``, what a kernel names ``@weight`` is
    ``weight``, and ``grad.logits`` is ``grad_of_logits``.
    """
    if name[0] in "%@":
        return name[1:]
    is_gradient = name.startswith("grad.")
    # Python allows more letters than C++ does, and a module's parameters have dots.
    letters = (
        c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name.removeprefix("grad.")
    )
    return f"{'grad_of' if is_gradient else 'in'}_{''.join(letters)}"
