"""Audio to moving lips.

ros2 launch emo lipsync.launch.py --show-args
ros2 launch emo lipsync.launch.py source:=file speech:=/abs/hello.wav
ros2 launch emo lipsync.launch.py robot:=/abs/my_robot.yaml lookahead:=live composed:=true
"""

from emo.launching import launch_description
from emo.options import LIPSYNC
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(LIPSYNC)
