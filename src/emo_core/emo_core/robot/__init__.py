"""From face landmarks to motors: description, safety, buses, simulated robot, self-model."""
