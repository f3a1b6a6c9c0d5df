"""Cameras: put into models (`mounting`), drawn (`rendering`, `graphics`), and observed (`rig`)."""
