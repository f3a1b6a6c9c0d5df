"""Rows of text tables: columns stay in line, and lines within their width."""

from robodreamer_deploy.utils.table import format_row


def test_the_last_cell_wraps_in_its_own_column() -> None:
    lines = format_row(("ok", "disk", "w " * 60), (9, 22)).splitlines()
    assert lines[0].startswith("ok       disk                  w w")
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 31 + "w") for line in lines[1:])
    assert " ".join(lines).split() == ["ok", "disk", *["w"] * 60]


def test_a_name_that_fills_its_column_stands_on_a_line_of_its_own() -> None:
    assert format_row(("123456", "a", "b"), (7, 3)) == "123456 a  b"
    assert format_row(("1234567", "a", "b"), (7, 3)) == "1234567\n       a  b"
    assert format_row(("1234567", ""), (7,)) == "1234567"


def test_a_row_without_text_has_no_trailing_spaces() -> None:
    assert format_row(("name", ""), (9,)) == "name"
    assert format_row(("", ""), (9,)) == ""


def test_a_path_is_never_broken() -> None:
    path = "/a-folder/" + "with-hyphens-" * 8
    assert path in format_row(("file", path), (9,)).split()
