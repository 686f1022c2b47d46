"""The simulated robot: servos, skin, and the camera that looks at it."""
