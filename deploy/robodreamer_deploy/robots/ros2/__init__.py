"""Robots whose driver is a ROS 2 node."""
