"""The page about a run, and the findings it is written from."""
