"""Toy agents, exported once for all tests that look at an export."""

from collections.abc import Callable

import pytest
from exported import CONTRACTS, Exported, export_toy


@pytest.fixture(scope="session")
def exported_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Return the export of one of `CONTRACTS`; only to be read."""
    done: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in done:
            done[name] = export_toy(tmp_path_factory.mktemp("toy"), CONTRACTS[name])
        return done[name]

    return get
