"""Agreement of the environments that share one memory."""

from robodreamer_deploy.contract import Contract


def require_equal(task: str, contract: Contract, environment: int, expected: Contract) -> None:
    """Refuse an environment whose contract is not that of the first.

    Args:
        task: Name of the task.
        contract: Contract of the environment.
        environment: Its number.
        expected: Contract of environment 0, or of the one before a restart.

    Raises:
        ValueError: The contracts differ; names the environment and every difference.
    """
    if contract != expected:
        raise ValueError(
            f"{task}: environment {environment} is another one than the first: "
            f"{'; '.join(contract.differences(expected))}; all environments of a run are the "
            "same, whichever process makes them, and stay so"
        )
