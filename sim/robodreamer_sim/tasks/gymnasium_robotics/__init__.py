"""Tasks of gymnasium-robotics: Fetch, Shadow hand, Adroit, kitchen, mazes."""
