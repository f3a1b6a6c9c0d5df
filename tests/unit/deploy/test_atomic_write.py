"""Atomic writes: complete or as before, whatever fails."""

import errno
import os
from pathlib import Path

import pytest

from robodreamer_deploy.utils.atomic_write import replacing, write_atomic


def write(path: Path, text: str, *, is_folder: bool) -> None:
    with replacing(path) as draft:
        assert not draft.exists(), "a dead process's draft is in the way"
        if is_folder:
            draft.mkdir()
        (draft / "a" if is_folder else draft).write_text(text)


def text_of(path: Path) -> str:
    return (path / "a" if path.is_dir() else path).read_text()


# An old folder has to go before the new one takes its name, so that rename is not tried.
@pytest.mark.parametrize(
    ("operation", "is_folder"), [("fsync", False), ("fsync", True), ("replace", False)]
)
def test_a_replacement_that_fails_keeps_the_old_version_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, is_folder: bool
) -> None:
    path = tmp_path / "thing"
    write(path, "old", is_folder=is_folder)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new", is_folder=is_folder)
    assert text_of(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_draft_of_a_killed_process_is_replaced(tmp_path: Path, is_folder: bool) -> None:
    path, left = tmp_path / "thing", tmp_path / ".thing.tmp"
    if is_folder:
        (left / "half").mkdir(parents=True)
    else:
        left.write_text("half")
    for text in ("first", "second"):
        write(path, text, is_folder=is_folder)
        assert text_of(path) == text
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)
    write_atomic(tmp_path / "a.json", b"{}")
    assert calls == ["sync .a.json.tmp", "rename", f"sync {tmp_path.name}"]
