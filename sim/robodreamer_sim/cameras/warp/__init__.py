"""MuJoCo Warp's ray-cast camera: what it is told (`scene`), `batch`, `renderer`."""
