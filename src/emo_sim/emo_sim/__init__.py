"""The simulated robot as a camera sees it, on ROS 2."""
