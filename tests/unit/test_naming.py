"""Names in what users are told."""

from robodreamer_deploy.naming import closest


def test_all_that_exists_is_listed_and_what_was_meant_comes_first() -> None:
    assert closest("rial", ("hinge", "rail", "x")).split(", ")[0] == "rail"
    assert sorted(closest("rial", ("hinge", "rail", "x")).split(", ")) == ["hinge", "rail", "x"]


def test_where_nothing_exists_nothing_is_listed() -> None:
    assert closest("rail", {}) == ""
