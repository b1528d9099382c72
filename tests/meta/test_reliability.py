"""The page on reliability says what the suite found, and nothing else."""

import json

from tests.faults.docs import FIGURES, PAGE, page


def test_the_page_is_what_the_figures_make() -> None:
    """Nobody has written a figure by hand; `python -m tests.faults.docs` writes it anew."""
    assert PAGE.read_text("utf-8") == page(json.loads(FIGURES.read_text("utf-8")))
