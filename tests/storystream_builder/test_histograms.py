import re

from storystream_builder.showing.histograms import Limit, histogram


def xs(svg: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<line class="{kind}" x1="([\d.]+)"', svg)]


def test_a_limit_drops_what_is_beyond_it_and_keeps_what_is_on_it():
    least = Limit("min", 2.0, 2.0, is_least=True)
    most = Limit("max", 2.0, 2.0, is_least=False)
    drawn = histogram("text", [1.0, 2.0, 3.0, 4.0], [False] * 4, [least, most])
    assert [number for _, number in drawn.limits] == [1, 2]


def test_a_limit_stands_between_what_it_divides():
    svg = histogram("text", [0.0, 1.0], [True, False], [Limit("max", 0.5, 0.5, is_least=False)]).svg
    left, right = sorted(float(x) for x in re.findall(r'<rect class="dropped" x="([\d.]+)"', svg))
    assert left < xs(svg, "limit")[0] < right


def test_the_limit_as_it_was_is_drawn_where_it_was_another():
    assert xs(histogram("text", [1.0], [True], [Limit("max", 0.5, 0.5, is_least=False)]).svg, "before") == []
    changed = histogram("text", [1.0], [True], [Limit("max", 0.5, 0.2, is_least=False)]).svg
    assert xs(changed, "before")[0] < xs(changed, "limit")[0]


def test_scores_that_are_all_nought_are_drawn():
    assert "<rect" in histogram("text", [0.0, 0.0], [True, False], []).svg
