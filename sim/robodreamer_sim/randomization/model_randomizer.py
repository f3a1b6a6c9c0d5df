"""Randomizer of a MuJoCo model, which starts from the nominal values every time."""

from collections.abc import Sequence

import mujoco
import numpy as np

from robodreamer_sim.randomization.model_elements import (
    Indices,
    Model,
    degrees_of_freedom,
    elements,
)
from robodreamer_sim.randomization.model_writers import WRITERS, get_array, set_rows
from robodreamer_sim.randomization.parameters import FIELDS
from robodreamer_sim.randomization.sampling import EntrySampler, Values
from robodreamer_sim.randomization.spec import Entry, Randomization

KEPT = (
    "eq_data", "geom_size", "geom_aabb", "geom_rbound", "geom_fluid", "body_margin", "body_contype",
    "body_conaffinity", "body_sameframe", "geom_sameframe", "site_sameframe", "bvh_aabb",
    "cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0",
    "dof_length", "tendon_length0", "actuator_length0", "tree_sleep_policy",
)  # fmt: skip
"""Arrays that `mj_setConst` computes from more than the masses. Tasks and the compiler may have set
other values, so they stay, unless a written field needs them."""


LATER = ("control_jitter", "actuator_delay", "sensor_delay")
"""Fields that do not change the current state."""


class ModelRandomizer:
    """Randomizer of one model; values without an entry keep their bits.

    Args:
        model: Changed in place. Its values now are the nominal ones.
        data: Its state, which pushes change.
        randomization: Entries of other fields than the model's are left to others.

    Raises:
        ValueError: An entry that selects something the model does not have, or a delay longer than
            the history that the model keeps.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, randomization: Randomization
    ) -> None:
        self._model, self._data = model, data
        entries = [entry for entry in randomization.entries if entry.about.is_of_model]
        entries.sort(key=lambda entry: list(FIELDS).index(entry.field))
        self._changes = [_Change(model, entry) for entry in entries]
        paths = {path for change in self._changes for path in (*change.arrays, *change.derived)}
        self._nominal = {path: get_array(model, path).copy() for path in sorted(paths)}
        self._scratch = mujoco.MjData(model) if any(c.derived for c in self._changes) else None

    @property
    def draws(self) -> tuple[EntrySampler, ...]:
        """Samplers of all entries, in the order of `FIELDS`."""
        return tuple(change.draws for change in self._changes)

    def begin(self, start_seed: int, episode_seed: int) -> None:
        """Draw for a new episode, before its first state is set up."""
        for change in self._changes:
            change.draws.begin(start_seed, episode_seed)
        self._write(self._changes)

    def advance(self, dt_s: float) -> None:
        """Begin a control step of `dt_s`: draw what is due, and push."""
        due = [change for change in self._changes if change.draws.advance(dt_s)]
        if not due:
            return
        self._write(due)
        if any(change.field not in LATER for change in due):
            mujoco.mj_forward(self._model, self._data)
        for change in due:
            if change.field == "push":
                self._push(change.rows, change.draws.values)

    def restore(self) -> None:
        """Give the model its nominal values back, to the bit."""
        for change in self._changes:
            self._restore(change)
            for path in change.derived:
                get_array(self._model, path)[...] = self._nominal[path]

    def _write(self, due: Sequence["_Change"]) -> None:
        """Write what was drawn, and with it all of the same kind, which may depend on it."""
        kinds = {change.kind for change in due}
        changes = [c for c in self._changes if c.kind in kinds and c.arrays and len(c.rows)]
        for change in changes:
            self._restore(change)
        for change in changes:
            values = change.draws.values[change.places]
            operation = change.draws.entry.operation
            WRITERS[change.field].write(self._model, change.rows, values, operation)
        if derived := {path for change in changes for path in change.derived}:
            assert self._scratch is not None, "made with the first entry that needs it"
            set_constants(self._model, self._scratch, derived)

    def _restore(self, change: "_Change") -> None:
        for path in change.arrays:
            nominal = self._nominal[path]
            set_rows(
                self._model, path, change.rows, nominal if "." in path else nominal[change.rows]
            )

    def _push(self, bodies: Indices, velocities: Values) -> None:
        """Change the velocity of all that hangs on a body as a blow on its centre of mass would."""
        model, data = self._model, self._data
        for body, velocity in zip(bodies.tolist(), velocities, strict=True):
            impulse = np.append(velocity, 0.0) * model.body_subtreemass[body]
            momentum, change = np.zeros(model.nv), np.zeros((1, model.nv))
            mujoco.mj_applyFT(
                model, data, impulse, np.zeros(3), data.subtree_com[body], body, momentum
            )
            mujoco.mj_solveM(model, data, change, momentum[None])
            data.qvel += change[0]
        mujoco.mj_forward(model, data)


class _Change:
    """Entry that is bound to the model: its sampler, and the rows that it changes."""

    def __init__(self, model: Model, entry: Entry) -> None:
        index = elements(model, entry.field)
        self.draws = EntrySampler(entry, tuple(index))
        self.field, self.kind = entry.field, entry.about.kind
        writer = WRITERS.get(entry.field)
        self.arrays, self.derived = (writer.arrays, writer.derived) if writer else ((), ())
        self.rows = np.array([index[name] for name in self.draws.names], np.intp)
        """Rows in its arrays."""
        self.places = np.arange(len(self.rows))
        """Row of the sampled values for each."""
        if any(path.startswith("dof_") for path in self.arrays):
            self.rows, self.places = degrees_of_freedom(model, self.rows)
        _check_history(model, entry, self.draws.names, self.rows)


def set_constants(model: Model, scratch: mujoco.MjData, derived: set[str]) -> None:
    """Recompute what MuJoCo derives from the masses, and of the rest only `derived`."""
    kept = {path: get_array(model, path).copy() for path in KEPT if path not in derived}
    mujoco.mj_setConst(model, scratch)
    for path, values in kept.items():
        get_array(model, path)[...] = values


def _check_history(model: Model, entry: Entry, names: Sequence[str], rows: Indices) -> None:
    """Refuse a delay that reaches beyond the past that the model keeps."""
    if entry.field not in {"actuator_delay", "sensor_delay"}:
        return
    kind, longest = entry.about.kind, int(entry.distribution.bounds[1])
    for name, row in zip(names, rows.tolist(), strict=True):
        if (kept := int(get_array(model, f"{kind}_history")[row, 0])) <= longest:
            raise ValueError(
                f"{entry.field}: {kind} {name} keeps {kept} steps of its past, one more than the "
                f"longest delay of {longest} is needed"
            )
