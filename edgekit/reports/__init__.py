"""What people and machines read of a run: JSON is the truth, the rest renders it."""
