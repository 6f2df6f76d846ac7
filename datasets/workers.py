"""Work on many rows in worker processes, with a progress bar."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm  # type: ignore[import-untyped]

CHUNK = 256  # rows that a process takes at a time

Result = TypeVar("Result")


def map_chunks(
    function: Callable[[Sequence[str]], Result],
    rows: Sequence[str],
    *,
    label: str,
    num_workers: int | None = None,
) -> list[Result]:
    """Calls a function on every 256 rows, in processes beside this one if there are more rows.

    The processes are forked, so that scripts need no guard around what they do; the function must
    not use PyTorch, whose threads do not survive that.

    Args:
        function: Takes some rows; of a module, so that it can be named to other processes.
        rows: What to work on.
        label: Stands before the progress bar, which is shown on terminals only.
        num_workers: Number of processes; 0 works in this one, None takes one for each processor
            that this process may use.

    Returns:
        The results in the order of the rows; none for no rows. They do not depend on the number of
        processes.

    Raises:
        ValueError: If the number of processes is negative.
    """
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"num_workers must be None or at least 0, got {num_workers}")
    if num_workers is None:
        num_workers = len(os.sched_getaffinity(0))
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    num_workers = min(num_workers, len(chunks))
    results = []
    with tqdm(total=len(rows), desc=label, unit=" rows", disable=None) as bar:
        if num_workers < 2:
            for chunk in chunks:
                results.append(function(chunk))
                bar.update(len(chunk))
            return results
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            for chunk, result in zip(chunks, pool.map(function, chunks), strict=True):
                results.append(result)
                bar.update(len(chunk))
    return results
