"""docs/your-task.md, followed from an empty folder to a driven arm."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from train_runs import ROOT, registered

PAGE = (ROOT / "docs" / "your-task.md").read_text()


@pytest.mark.slow
def test_the_page_can_be_followed_from_an_empty_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = registered(tmp_path_factory.mktemp("installed"))
    for name, language in {"arm.xml": "xml", "my_arm.py": "python"}.items():
        (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        (tmp_path / name).write_text(text)
    commands = re.findall(r"^    (robodreamer.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 5
    faster = {"train": "--protocol=debug --size=debug --steps=400", "export": "--episodes=1"}
    for command in commands:
        words = [*command.split(), *faster.get(command.split()[1], "").split()]
        package = words[0].replace("-", "_")
        if package == "robodreamer_deploy":
            words += ["--episodes", "1", "--fast"]
        start = f"import sys, {package}.cli.main as cli; sys.exit(cli.main())"
        done = subprocess.run(
            [sys.executable, "-c", start, *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(home), *sys.path])},
        )
        assert done.returncode == 0, (command, done.stderr)
        if words[1:3] == ["tasks", "check"]:
            assert "no broken promises" in done.stdout
    assert list((tmp_path / "looks").glob("*.png"))
