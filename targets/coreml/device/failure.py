"""One error with a way out, and text that is safe to print."""


class Failure(Exception):
    """What failed and what to do; measure.py prints "<problem>; <fix>" and exits with 1."""

    def __init__(self, problem, fix):
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


def printable(text, limit=400):
    """`text` without control characters (names out of a model are not trusted), cut to `limit`."""
    kept = "".join(char if char.isprintable() else " " for char in text)
    return kept if len(kept) <= limit else kept[:limit] + "..."
