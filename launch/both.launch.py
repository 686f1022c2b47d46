"""Lip-sync and mimicry at once: the mouth speaks while there is speech, all else mimics.

ros2 launch emo both.launch.py --show-args
ros2 launch emo both.launch.py                      # microphone and camera
ros2 launch emo both.launch.py source:=file speech:=/abs/hello.wav camera_device:=0
"""

from emo.launching import launch_description
from emo.options import BOTH
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(BOTH)
