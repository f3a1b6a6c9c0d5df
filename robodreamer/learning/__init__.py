"""Learning: the agent, its actor-critic, its optimizer and one update."""
