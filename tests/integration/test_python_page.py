"""docs/python.md, executed from start to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from train_runs import ROOT

import robodreamer
from robodreamer.runs.run import Run

PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_can_be_executed_from_start_to_end(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "sim", "deploy"))
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],  # as in a notebook, no script is imported again
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^success \d+%, at most \d+%$", done.stdout, re.MULTILINE)
    assert re.search(r"^return -[\d.]+, success: (True|False), surpr", done.stdout, re.MULTILINE)
    assert Run(tmp_path / "runs/first").steps >= 120
    assert (tmp_path / "policies/first/manifest.json").is_file()


def test_the_page_names_every_public_function() -> None:
    functions = {name for name in robodreamer.__all__ if name[0].islower()}
    assert {name for name in functions if f"robodreamer.{name}(" not in PAGE} == set()
