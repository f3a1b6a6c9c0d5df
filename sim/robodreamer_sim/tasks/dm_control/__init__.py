"""Tasks of dm_control: the suite and the composed tasks."""
