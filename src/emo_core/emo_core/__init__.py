"""The emo library: everything that works on arrays. Never imports rclpy."""

__version__ = "0.1.0"
