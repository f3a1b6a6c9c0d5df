"""Vector environments: many environments in worker processes. The interface is `vector_env`."""
