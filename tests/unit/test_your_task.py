"""docs/your-task.md: its example is what is shipped, and short."""

import re
from pathlib import Path

import robodreamer_sim

PAGE = (Path(__file__).parents[2] / "docs" / "your-task.md").read_text()
SIM = Path(robodreamer_sim.__file__).parent


def block(language: str) -> str:
    """Return the page's one block in a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return text


def test_the_example_is_the_arm_that_is_shipped() -> None:
    assert block("xml") == (SIM / "assets" / "arm.xml").read_text()
    shipped = (SIM / "tasks" / "arm.py").read_text()
    shipped = re.sub(r'\A""".*?"""', '"""A 6-joint arm that reaches and pushes."""', shipped,
                     count=1, flags=re.DOTALL)  # fmt: skip
    shipped = shipped.replace('.parents[1] / "assets" / "arm.xml"', '.with_name("arm.xml")')
    assert block("python") == shipped


def test_the_example_is_short() -> None:
    assert len((block("xml") + block("python")).splitlines()) < 150
