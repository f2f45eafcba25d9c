"""The charts of the docs are what benchmarks/charts.py draws from the results that are committed."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("charts", ROOT / "benchmarks" / "charts.py")
assert spec is not None and spec.loader is not None
charts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(charts)


@pytest.mark.parametrize("name", charts.CHARTS)
def test_a_chart_is_what_its_results_draw_and_a_page_shows_it(name):
    drawn = charts.CHARTS[name]()
    assert (ROOT / "docs" / "pictures" / f"{name}.svg").read_text("utf-8") == drawn, "run python benchmarks/charts.py"
    ElementTree.fromstring(drawn)
    assert any(f"(pictures/{name}.svg)" in page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))


def test_bars_are_as_long_as_their_figures():
    drawn = charts.draw_bars({"some": [charts.Bar("one", 10.0, "10"), charts.Bar("two", 5.0, "5", reach=7.5)]}, "a test")
    _, *bars = [float(part.get("width", 0)) for part in ElementTree.fromstring(drawn).iter() if part.tag.endswith("rect")]
    assert bars == pytest.approx([charts.BAR, charts.BAR / 2])
