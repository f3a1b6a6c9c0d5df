"""Memory: the tightest of the machine's limit and those of all control groups counts."""

from pathlib import Path

import pytest

from robodreamer.utils.memory import Memory, find_shortage, read_memory

MEMINFO = "MemTotal:  16000 kB\nMemFree: 1 kB\nMemAvailable:  8000 kB\nSwapTotal: 4000 kB\n"
GROUP = "the control group (container, batch job)"
FREE = Memory(20_480_000, 8_192_000, "this machine")


def system(folder: Path, own_groups: str, files: dict[str, int | str]) -> Memory | None:
    """Return what is read of a system with these files of control groups."""
    (folder / "meminfo").write_text(MEMINFO)
    (folder / "own").write_text(own_groups)
    for name, value in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return read_memory(folder / "meminfo", folder / "own", folder / "groups")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, FREE),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/b/memory.current": 5}, FREE),
        (
            "0::/a/b\n",  # the limit is that of the group around it
            {"a/b/memory.max": "max", "a/memory.max": 1_000_000, "a/memory.current": 400_000},
            Memory(1_000_000, 600_000, GROUP),
        ),
        (
            "0::/docker/x\n",  # which is the root from inside
            {"memory.max": 1_000_000, "memory.current": 1_200_000},
            Memory(1_000_000, 0, GROUP),
        ),
        (
            "0::/job\n",  # what it keeps of files is given back
            {"job/memory.max": 1_000_000, "job/memory.current": 990_000,
             "job/memory.stat": "anon 200000\nactive_file 300000\ninactive_file 400000"},
            Memory(1_000_000, 710_000, GROUP),
        ),
        (
            "4:memory:/job\n",
            {"memory/job/memory.limit_in_bytes": 1_000_000,
             "memory/job/memory.usage_in_bytes": 990_000,
             "memory/job/memory.stat": "inactive_file 5\ntotal_active_file 0\n"
             "total_inactive_file 400000"},
            Memory(1_000_000, 410_000, GROUP),
        ),
        (
            "4:memory:/job\n0::/\n",
            {"memory/job/memory.limit_in_bytes": 3_000_000,
             "memory/job/memory.usage_in_bytes": 1_000_000,
             "memory/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.usage_in_bytes": 7},
            Memory(3_000_000, 2_000_000, GROUP),
        ),
    ],
)  # fmt: skip
def test_the_tightest_limit_counts(
    own: str, files: dict[str, int | str], expected: Memory, tmp_path: Path
) -> None:
    assert system(tmp_path, own, files) == expected


def test_a_system_without_limits_limits_nothing(tmp_path: Path) -> None:
    assert read_memory(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None


def test_a_replay_that_does_not_fit_is_reported_with_a_capacity_that_does() -> None:
    assert find_shortage(12_000, 600, FREE) is None
    shortage = find_shortage(12_000, 1_750_000, FREE)
    assert shortage is not None
    assert shortage.is_hopeless
    assert "a replay of 1,750,000 steps takes 21.0 GB when it is full; this mach" in shortage.text
    assert "--data.replay-capacity 546 takes" in shortage.text
    smaller = find_shortage(12_000, 1_000, FREE)
    assert smaller is not None
    assert not smaller.is_hopeless
