"""The functions of `import robodreamer`, from a task to a policy; the command line calls the same.

Each of them does two things, one after the other. First it checks what is asked and loads it; a
`ValueError` says in a sentence what cannot be done. Then it works. `FUNCTION.prepare(...)` does
the first and returns the second: the command line, which calls that, lets Ctrl-C end the process
at once before the work begins, and shows a traceback for an error that comes after it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from robodreamer.config import TrainConfig, folder_name, named_config
from robodreamer.evaluation.evaluate import Evaluation
from robodreamer.evaluation.report import make_evaluation_job
from robodreamer.runs.import_reference import ReferenceOptions, prepare_import_reference
from robodreamer.runs.run import Run
from robodreamer.runs.run_folder import RunRecord
from robodreamer.training.builder import make_training_job
from robodreamer.training.run_settings import change_settings, resumed_config
from robodreamer.utils.two_steps import Job, in_two_steps
from robodreamer.visualization.dream import CONTEXT, HORIZON
from robodreamer.visualization.inspection import Inspection
from robodreamer.visualization.inspection_report import prepare_inspection
from robodreamer.visualization.run_videos import prepare_films
from robodreamer.visualization.views import FUTURES, OPEN_LOOP, DreamOptions, Films
from robodreamer_deploy.policy.manifest import ACTION_SELECTIONS, ActionSelection, Precision
from robodreamer_sim.options import Observe

Folder = str | os.PathLike[str]
Log = Callable[[str], None]


@in_two_steps
def train(
    task: str | TrainConfig,
    *,
    run: Folder | None = None,
    size: str | None = None,
    preset: str | None = None,
    protocol: str | None = None,
    view: bool = False,
    camera_from: Folder | None = None,
    **settings: Any,
) -> Job[Run]:
    """Learn a task from scratch. Ctrl-C, or a notebook's stop button, saves and returns.

    Args:
        task: Name of a task (`list_tasks`), `gym:ID` or `module:Class`; or complete settings, which
            take no other names beside them.
        run: Run folder; runs/TASK by default.
        size: Size of the networks: debug, cpu, 1m, 12m, 25m, 50m, 100m, 200m, dreamer_v1 or
            dreamer_v2.
        preset: Algorithm with its optimizer and parts: dreamer_v1, dreamer_v2, dreamer_v3,
            multimodal, quick or debug.
        protocol: How data is collected and replayed: default, dmc_vision, dmc_proprio, cpu, debug.
        view: Show the newest policy in MuJoCo's viewer while it learns.
        camera_from: Folder that `robodreamer vae` wrote; its encoder starts the camera's.
        settings: Any other field of `TrainConfig`, such as `minutes=15`, `steps=100_000`,
            `observe="proprio"` or `seed=1`; of a part as `data={"num_envs": 4}`.

    Returns:
        The run: where it lies, how far it came and how good it is.

    Raises:
        ValueError: There is no such task or setting, or the folder holds a run already.
        TrainingDivergedError: The agent computes with numbers that are no longer finite.
        EnvironmentFault: An environment failed; the agent was saved before.
    """
    named = {"size": size, "preset": preset, "protocol": protocol}
    if isinstance(task, str):
        task = change_settings(named_config(task, **named), settings)
    elif given := [*settings, *(name for name, value in named.items() if value)]:
        raise ValueError(
            f"the settings of a TrainConfig are complete; leave out {', '.join(given)}"
        )
    folder = Path(run) if run else Path("runs") / folder_name(task.task)
    source = Path(camera_from) if camera_from else None
    return _prepare_training(task, folder, view=view, camera_from=source)


@in_two_steps
def resume(run: Folder, *, view: bool = False, **settings: Any) -> Job[Run]:
    """Go on with a run from its newest checkpoint, exactly where it was.

    Args:
        run: Run folder, or what `train` returned.
        view: Show the newest policy in MuJoCo's viewer while it learns.
        settings: New `minutes` or `steps`, which count from the beginning of the run, and what else
            does not change what the run is, such as `num_workers` or `evaluate_minutes`.

    Returns:
        The run.

    Raises:
        ValueError: There is nothing to go on with, nothing left to do, or a setting would make it
            another run.
    """
    begun = run if isinstance(run, Run) else Run(run)
    config = resumed_config(begun.folder, begun.config, settings)
    return _prepare_training(config, begun.folder, resumed=begun.record, view=view)


@in_two_steps
def evaluate(
    folder: Folder,
    *,
    episodes: int = 50,
    draw: ActionSelection | Literal["both"] = "both",
    checkpoint: str | None = None,
    blank: Sequence[str] = (),
    randomize: str | None = None,
    json_file: Folder | None = None,
    log: Log = print,
) -> Job[dict[ActionSelection, Evaluation]]:
    """Measure return and success of a run, or of an exported policy, on fixed episodes.

    Args:
        folder: Run folder, policy folder, or what `train` or `export_policy` returned.
        episodes: Episodes per draw; the same number always means the same episodes.
        draw: `mode` takes the most likely latents and action, `sample` draws both.
        checkpoint: Checkpoint of a run, such as step-000012000; newest, the default; or best.
        blank: Cameras that show black, to see how much the policy depends on them.
        randomize: Randomise the task otherwise than in training: none, mild, strong or a JSON file.
        json_file: File to write all figures to.
        log: Takes the table, line by line.

    Returns:
        The figures by draw; `summary()` of each has means and 95 % intervals.

    Raises:
        ValueError: The folder holds neither, or a camera or a setting does not exist; the message
            lists those that do.
    """
    from robodreamer_sim.randomization import read_word

    return make_evaluation_job(
        Path(folder),
        episodes=episodes,
        draws=ACTION_SELECTIONS if draw == "both" else (draw,),
        say=log,
        checkpoint=checkpoint,
        blank=blank,
        json_file=Path(json_file) if json_file else None,
        randomize=read_word(randomize) if randomize else None,
    )


@in_two_steps
def dream(
    run: Folder,
    *,
    what: str | Sequence[str] = OPEN_LOOP,
    episodes: int = 1,
    context: int = CONTEXT,
    horizon: int = HORIZON,
    futures: int = FUTURES,
    checkpoint: str | None = None,
    draw: ActionSelection = "mode",
    strip: Folder | None = None,
    log: Log = print,
) -> Job[Films]:
    """Film episodes, and what the model makes of the first, into RUN/videos.

    Args:
        run: Run folder, or what `train` returned.
        what: Views to show, one or more: open-loop, reconstruction, fantasy, futures,
            interpolation, errors.
        episodes: Evaluation episodes to film, one after the other; errors are measured in all.
        context: Steps that the model watches before it imagines the others.
        horizon: Steps that it imagines at most.
        futures: Number of futures, up to 64.
        checkpoint: Checkpoint, such as step-000012000; newest, the default; or best.
        draw: `mode` acts without randomness, `sample` draws actions, which moves more.
        strip: Animated WebP to write: all episodes side by side, each above the dream of it.
        log: Takes the model's errors and the names of the files, line by line.

    Returns:
        The files, and the arrays that they show.

    Raises:
        ValueError: No such run, checkpoint or view, a count that is out of range, the task is gone
            or another one, or a strip of a run without cameras.
    """
    options = DreamOptions(
        views=(what,) if isinstance(what, str) else tuple(what),
        episodes=episodes,
        context=context,
        horizon=horizon,
        futures=futures,
        is_sampling=draw == "sample",
        strip=Path(strip) if strip else None,
    )
    return prepare_films(Path(run), checkpoint, options, log)


@in_two_steps
def inspect(
    run: Folder,
    *,
    episodes: int = 5,
    checkpoint: str | None = None,
    draw: ActionSelection = "sample",
    json_file: Folder | None = None,
    log: Log = print,
) -> Job[Inspection]:
    """Measure an agent from inside, on new episodes; plots and figures go into RUN/plots.

    Args:
        run: Run folder, or what `train` returned.
        episodes: Evaluation episodes to record.
        checkpoint: Checkpoint, such as step-000012000; newest, the default; or best.
        draw: `sample` draws latents and actions, as in training, where the critic learned; `mode`
            takes the most likely ones.
        json_file: File to write all figures to.
        log: Takes the table, line by line.

    Returns:
        Sizes of the modules, use of the latents, KL, calibration of reward and value, gradients.

    Raises:
        ValueError: No such run or checkpoint, no episodes, or the task is gone or another one.
    """
    return prepare_inspection(
        Path(run),
        checkpoint,
        episodes=episodes,
        is_sampling=draw == "sample",
        json_file=Path(json_file) if json_file else None,
        say=log,
    )


@in_two_steps
def export_policy(
    run: Folder,
    out: Folder | None = None,
    *,
    checkpoint: str | None = None,
    precision: Precision = "float32",
    accept_loss: bool = False,
    episodes: int = 10,
    opset: int = 18,
    log: Log = print,
) -> Job[Path]:
    """Write a run's policy as ONNX files that have been verified against torch.

    Args:
        run: Run folder, or what `train` returned.
        out: Policy folder, in which an older policy is replaced; policies/ and the run folder's
            name by default, where only a policy of the same run is.
        checkpoint: Checkpoint, such as step-000012000; newest, the default; or best.
        precision: Type that weights are kept in: float32, float16 or int8.
        accept_loss: Write a policy of reduced precision also if its return is below float32's 95 %
            interval.
        episodes: Episodes to drive through onnxruntime with either draw; 0 drives none.
        opset: ONNX operator set, 18 to 23.
        log: Takes what was checked, line by line.

    Returns:
        The policy folder, for `load`, `evaluate` and `robodreamer-deploy`.

    Raises:
        ValueError: The run, the target or the operator set cannot be used.
        BundleError: The graphs do not compute what the agent does; a `ValueError`. The target is as
            it was.
    """
    from robodreamer.export.export import prepare_export  # imports onnx, 0.4 s

    return prepare_export(
        Path(run),
        Path(out) if out else None,
        checkpoint=checkpoint,
        opset=opset,
        episodes=episodes,
        precision=precision,
        accept_loss=accept_loss,
        say=log,
    )


@in_two_steps
def import_reference(
    checkpoint: Folder,
    out: Folder,
    *,
    task: str | None = None,
    size: str | None = None,
    observe: Observe | None = None,
    cameras: Sequence[str] | None = None,
    image_size: int | None = None,
    action_repeat: int | None = None,
    keys: Mapping[str, str] | None = None,
    log: Log = print,
) -> Job[Run]:
    """Make a run of an agent that was trained with the public JAX code of DreamerV3.

    Nothing in the checkpoint is executed.

    Args:
        checkpoint: Log folder, checkpoint folder or file of that code, or parameters as .npz or
            .safetensors.
        out: Run folder to write.
        task: Name of the task here; that of config.yaml by default, if it is one of dm_control.
        size: Size of the networks, where no config.yaml lies beside the checkpoint.
        observe: Families of signals: camera, proprio, both or state.
        cameras: Cameras, as in training.
        image_size: Height and width of every camera; as in config.yaml by default, or 64.
        action_repeat: Simulator steps per action; as in config.yaml by default, or 1.
        keys: Names there by names here, of signals where they differ.
        log: Takes what was read and written.

    Raises:
        ValueError: The checkpoint cannot be read, holds more than data, or does not fit the task;
            the message lists what differs.
    """
    options = ReferenceOptions(
        task=task,
        size=size,
        observe=observe,
        cameras=tuple(cameras) if cameras else None,
        image_size=image_size,
        action_repeat=action_repeat,
        keys=keys or {},
    )
    job = prepare_import_reference(Path(checkpoint), Path(out), options, log)

    def write() -> Run:
        job()
        return Run(out)

    return write


def _prepare_training(
    config: TrainConfig,
    folder: Path,
    *,
    resumed: RunRecord | None = None,
    view: bool,
    camera_from: Path | None = None,
) -> Job[Run]:
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    job = make_training_job(config, folder, resumed=resumed, view=view, camera_from=camera_from)

    def train_and_restore() -> Run:
        try:
            return Run(folder, was_stopped=not job())
        finally:  # a run sets both for the whole process, in which a notebook goes on
            torch.set_num_threads(before[0])
            torch.set_deterministic_debug_mode(before[1])

    return train_and_restore
