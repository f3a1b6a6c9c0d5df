"""Task tools: the list of tasks, checks of a task, and measurements of its cost."""
