"""Toys that are made once for all tests, and the onboard command in this process."""

from collections.abc import Callable, Iterator

import pytest

from exported import TOYS, Exported, export_toy
from robodreamer_deploy.cli import main
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.policy import Policy
from served import BOUNDS, waiting
from toy_policy import write_bundle


@pytest.fixture(scope="session")
def exported_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Return the export of one of `TOYS`; only to be read."""
    done: dict[str, Exported] = {}

    def get(name: str) -> Exported:
        if name not in done:
            toy = TOYS[name]
            done[name] = export_toy(
                tmp_path_factory.mktemp("toy"),
                toy.contract,
                network=toy.network,
                algorithm=toy.algorithm,
            )
        return done[name]

    return get


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Return the toy policy, loaded as a robot does; only to be read."""
    return Policy(load_bundle(write_bundle(tmp_path_factory.mktemp("toy"))))


@pytest.fixture(scope="session")
def gaussian_policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Return the toy policy whose latents are Gaussian; only to be read."""
    folder = write_bundle(tmp_path_factory.mktemp("toy"), family="gaussian")
    return Policy(load_bundle(folder))


@pytest.fixture(params=["policy", "gaussian_policy"])
def each_policy(request: pytest.FixtureRequest) -> Policy:
    """Return the toy policy of each family of latents in turn; only to be read."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def patient_driver() -> Iterator[None]:
    """Let drivers of served robots wait while a busy machine does not run the other side."""
    with waiting(dict.fromkeys(BOUNDS, 10.0)):
        yield


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `robodreamer-deploy`; return its exit code, output and error output."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main.main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
