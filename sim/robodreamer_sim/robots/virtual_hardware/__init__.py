"""Virtual hardware: a simulated robot in a process of its own, `robodreamer robot TASK`.

`firmware` is the robot, `sensors` delays and drops its measurements, `command_monitor` checks its
commands, and `process` serves all of it at an address.
"""

WATCHDOG_PERIODS = 5
"""Control periods without a command after which the firmware holds."""
