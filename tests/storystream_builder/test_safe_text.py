import pytest

from storystream_builder.showing.safe_text import link, shown


def test_an_override_of_direction_is_spelt_out():
    assert shown("holiday_\u202egpj.exe") == "holiday_<U+202E>gpj.exe"


def test_a_control_character_is_spelt_out():
    assert shown("a\x1b[2Jb\x00") == "a<U+001B>[2Jb<U+0000>"


@pytest.mark.parametrize("text", ["café", "日本語", "שלום\u200f!", "two\nlines\tand a tab", "👩\u200d🚀"])
def test_what_people_write_is_left_as_it_is(text):
    assert shown(text) == text


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//x.org", "ftp://x.org", "http://[", "", None]
)
def test_only_web_addresses_are_linked(address):
    assert link(address) is None


def test_a_web_address_is_linked():
    assert link("https://peach.blender.org/a?b=c") == "https://peach.blender.org/a?b=c"
