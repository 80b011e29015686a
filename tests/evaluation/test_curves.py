import re

import pytest

from evaluation.showing.curves import Panel, css_dash, curves_figure, has_course, line_of, panel_svg
from evaluation.statistics import Estimate

POINTS = [Estimate(value=0.9 - index / 20, low=0.8 - index / 20, high=1 - index / 20, n=5) for index in range(8)]


def panel():
    lines = (
        line_of("window", POINTS, 0),
        line_of("multimodal sink", POINTS, 1, is_headline=True),
        line_of("somebody else", [None, *POINTS[1:]], 2),
        line_of("the dataset itself", POINTS, 3, is_reference=True),
    )
    return Panel("x", "free", "X.", lines, (("chance", 0.3),))


def test_the_headline_and_the_dataset_are_drawn_whole_and_others_broken():
    dashes = [css_dash(line) for line in panel().lines]
    assert dashes[1] == dashes[3] == "none"
    assert "none" not in (dashes[0], dashes[2])


def test_a_drawing_takes_the_page_s_ink_and_repeats_no_id():
    drawn = [panel_svg(panel()) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert "currentColor" in drawn[0]
    assert "#010203" not in drawn[0]
    assert not re.search(r' id="[A-Za-z0-9]+_\d+"', drawn[0])
    referred = set(re.findall(r'(?:url\(|href=")#(\w+)', drawn[0]))
    assert referred <= set(re.findall(r' id="(\w+)"', drawn[0]))


def test_only_the_headline_and_the_dataset_have_bands():
    figure = curves_figure([panel()])
    assert len(figure.axes[0].collections) == 2


@pytest.mark.parametrize(("present", "is_drawn"), [(2, False), (3, True)])
def test_two_points_are_no_course(present, is_drawn):
    line = line_of("window", [*POINTS[:present], None, None], 0)
    assert has_course([line]) == is_drawn


def test_what_is_the_same_everywhere_has_no_course():
    same = [Estimate(value=0, n=3)] * 8
    assert not has_course([line_of("window", same, 0), line_of("dense", same, 1)])
    assert has_course([line_of("window", same, 0), line_of("dense", [Estimate(value=1, n=3)], 1)])


def test_a_sheet_says_which_mode_a_drawing_is_of():
    assert curves_figure([panel()]).axes[0].get_title(loc="left") == "x, free"


def test_without_panels_there_is_no_sheet():
    assert curves_figure([]) is None
