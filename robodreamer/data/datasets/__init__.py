"""Datasets: recorded episodes from outside, read step by step."""
