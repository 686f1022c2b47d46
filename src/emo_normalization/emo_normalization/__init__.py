"""Human landmarks to the robot's proportions, on ROS 2."""
