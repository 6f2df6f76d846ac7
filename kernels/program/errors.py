"""The error a score or message gets when it is no edge program."""


class CaptureError(ValueError):
    """A score, message or edge output does something that an edge program cannot do.

    The message names the operation, the file and line of the user's code, and what to do instead.
    """
