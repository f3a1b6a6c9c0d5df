"""MuJoCo Warp's ray-cast camera: its input (`scene`), batches of images, and the renderer."""
