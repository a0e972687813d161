"""How well the planner predicts, against starts that happened."""
