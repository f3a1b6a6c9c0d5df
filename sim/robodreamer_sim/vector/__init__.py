"""Many environments at once, in worker processes; `vector_env` is what others use."""
