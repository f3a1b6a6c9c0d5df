"""Evaluation: episodes on fixed seeds, of agents in torch and of exported policies."""
