"""Tests that the page on reliability has exactly the results of the suite."""

import json

from tests.faults.docs import FIGURES, PAGE, page


def test_the_page_equals_the_generated_one() -> None:
    """No figure is written by hand; `python -m tests.faults.docs` writes the page."""
    assert PAGE.read_text("utf-8") == page(json.loads(FIGURES.read_text("utf-8")))
