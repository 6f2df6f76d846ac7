"""Generated Triton source as a Python module."""

import functools
import hashlib
import linecache
from types import ModuleType


@functools.cache
def module(text: str) -> ModuleType:
    """The module that a text is; the same one for the same text.

    Triton reads the source of a function again when it compiles it, so the text stays where
    Python looks source up. Compiled kernels are kept on disk by Triton itself, by their source.
    """
    name = f"graphattn_triton_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    made = ModuleType(name)
    made.__file__ = file
    exec(compile(text, file, "exec"), made.__dict__)
    return made
