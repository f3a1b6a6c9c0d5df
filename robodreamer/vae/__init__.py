"""Variational autoencoder of a task's pictures: frames, training, and sheets to look at."""
