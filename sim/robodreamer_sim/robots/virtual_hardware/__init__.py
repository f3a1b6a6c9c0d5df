"""A simulated robot in a process of its own, in place of hardware: `robodreamer robot TASK`.

`firmware` is the robot, `sensors` how it measures, `monitor` who judges what it is commanded,
`process` all of it behind an address.
"""

WATCHDOG_PERIODS = 5
"""Control periods without a command after which the firmware holds."""
