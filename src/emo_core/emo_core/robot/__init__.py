"""From face landmarks to motors: description, safety, buses, the simulated robot, its self-model."""
