"""Human landmarks to the robot's proportions, on ROS 2."""

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
