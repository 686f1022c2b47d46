"""Arbiter and motor drivers, on ROS 2."""
