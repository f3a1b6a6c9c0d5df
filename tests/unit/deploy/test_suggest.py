"""Names, and other people's text, in what users are told."""

from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.utils.suggest import closest, printable, printable_lines


def test_all_that_exists_is_listed_and_what_was_meant_comes_first() -> None:
    assert closest("rial", ("hinge", "rail", "x")).split(", ")[0] == "rail"
    assert sorted(closest("rial", ("hinge", "rail", "x")).split(", ")) == ["hinge", "rail", "x"]


def test_where_nothing_exists_nothing_is_listed() -> None:
    assert closest("rail", {}) == ""


@given(st.text(st.characters()))
def test_nothing_that_steers_a_terminal_is_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")  # half a surrogate pair could not be
    assert (shown == text) == text.isprintable()


def test_escapes_tell_what_stood_there() -> None:
    assert printable("red \x1b[31m\a\x9b\u202e\ud800\n") == r"red \x1b[31m\x07\x9b\u202e\ud800\n"
    assert printable("Wärme in °C, 10 µm — 测试") == "Wärme in °C, 10 µm — 测试"


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\x1b[2Jtwo") == "one\n\\x1b[2Jtwo"
