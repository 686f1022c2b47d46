"""A camera to expressions, ahead of time.

ros2 launch emo mimic.launch.py --show-args
ros2 launch emo mimic.launch.py camera:=file video:=/abs/somebody.mp4
ros2 launch emo mimic.launch.py camera_device:=0 robot:=/abs/my_robot.yaml composed:=true
"""

from emo.launching import launch_description
from emo.options import MIMIC
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(MIMIC)
