"""Robot landmarks to motor commands, on ROS 2."""
