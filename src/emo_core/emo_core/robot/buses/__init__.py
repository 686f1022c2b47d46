"""Servo buses: one module for each protocol, and fakes of them on a pseudo-terminal."""
