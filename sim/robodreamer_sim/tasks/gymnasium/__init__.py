"""Any Gymnasium environment as a task: its spaces, its pictures, its control period."""
