"""Parameters that can be randomised: fields with elements, operations and units, as data.

A field is a quantity of some kind of element: of geoms, bodies, joints, ... of the MuJoCo model, of
the observed cameras (`image`), of the robot's measurements, of its actions, or of the whole model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Operation = Literal["scale", "add", "set"]
"""The nominal value times, plus, or replaced by what is drawn."""
When = Literal["start", "reset", "interval"]
"""Time of a draw: once per environment, at every reset, or also during the episode."""
Kind = Literal[
    "geom", "body", "root", "joint", "actuator", "sensor", "camera", "light", "material", "model",
    "image", "measurement", "component", "action",
]  # fmt: skip
"""`root` is a body that moves and whose parent does not; `image` is an observed camera; a
`component` is one number of a measurement, such as `joint_position.elbow` or `velocity.2`."""

OPERATIONS: tuple[Operation, ...] = ("scale", "add", "set")
SIGNAL_KINDS = {"image", "measurement", "component", "action"}


@dataclass(frozen=True)
class Field:
    """Field: a quantity that can be randomised."""

    kind: Kind
    about: str
    """Description with the unit."""
    operations: tuple[Operation, ...] = OPERATIONS
    size: int = 1
    """Numbers that are drawn per element."""
    low: float = -math.inf
    """Smallest value that makes sense; what is scaled or added to ends here."""
    high: float = math.inf
    """Largest value that makes sense."""
    when: tuple[When, ...] = ("start", "reset", "interval")
    is_whole: bool = False
    """True if values are rounded to whole numbers."""

    @property
    def is_of_model(self) -> bool:
        """True if it changes the simulation, not observations or commands."""
        return self.kind not in SIGNAL_KINDS


RED_GREEN_BLUE = {"size": 3, "low": 0.0, "high": 1.0}
ADD: tuple[Operation, ...] = ("add",)
SCALE: tuple[Operation, ...] = ("scale",)
SET: tuple[Operation, ...] = ("set",)

PHYSICS = {
    "friction": Field("geom", "sliding friction; the larger one of two geoms counts", low=0.0),
    "mass": Field("body", "kg; the inertia changes by the same factor", low=1e-6),
    "center_of_mass": Field("body", "m along the body's axes", ADD, 3),
    "damping": Field("joint", "N s/m or N m s/rad", low=0.0),
    "armature": Field("joint", "kg or kg m^2", low=0.0),
    "friction_loss": Field("joint", "dry friction, N or N m", low=0.0),
    "stiffness": Field("joint", "of its spring, N/m or N m/rad", low=0.0),
    "actuator_gain": Field("actuator", "force per command, and a servo's damping", SCALE),
    "force_limit": Field("actuator", "both ends of its force range", SCALE),
    "actuator_delay": Field("actuator", "physics steps", SET, low=0.0, is_whole=True),
    "sensor_delay": Field("sensor", "physics steps", SET, low=0.0, is_whole=True),
    "gravity": Field("model", "m/s^2 along x, y, z of the world", size=3),
    "control_jitter": Field("model", "length of a control step", SCALE),
    "push": Field("root", "velocity along x, y of the world, m/s", ADD, 2, when=("interval",)),
}
SIGHT = {
    "camera_position": Field("camera", "m to its right, up, backwards", ADD, 3),
    "camera_rotation": Field("camera", "rad about its right, up, backwards", ADD, 3),
    "camera_fovy": Field("camera", "vertical field of view", SCALE, high=170.0),
    "light_position": Field("light", "m along the axes of what carries it", ADD, 3),
    "light_direction": Field("light", "rad about the axes of what carries it", ADD, 3),
    "light_color": Field("light", "red, green, blue", **RED_GREEN_BLUE),
    "headlight": Field("model", "red, green, blue of the light at every camera", SCALE, 3),
    "geom_color": Field("geom", "red, green, blue, where its material sets none", **RED_GREEN_BLUE),
    "material_color": Field("material", "red, green, blue", **RED_GREEN_BLUE),
    "texture_repeat": Field("material", "how often its pattern repeats", SCALE),
}
SIGNALS = {
    "image_brightness": Field("image", "factor of every pixel", SET, low=0.0),
    "image_contrast": Field("image", "factor of the distance to the mean", SET, low=0.0),
    "image_noise": Field("image", "standard deviation of a pixel, of 255", SET, low=0.0),
    "image_blur": Field("image", "standard deviation in pixels", SET, low=0.0, high=10.0),
    "camera_delay": Field("image", "control steps", SET, low=0.0, is_whole=True),
    "camera_drop": Field("image", "share of pictures that are lost", SET, low=0.0, high=1.0),
    "measurement_bias": Field("component", "in the measurement's unit", ADD),
    "measurement_noise": Field("measurement", "standard deviation, in its unit", SET, low=0.0),
    "measurement_delay": Field("measurement", "control steps", SET, low=0.0, is_whole=True),
    "action_delay": Field("action", "control steps", SET, low=0.0, is_whole=True),
}
FIELDS: Mapping[str, Field] = {**PHYSICS, **SIGHT, **SIGNALS}
