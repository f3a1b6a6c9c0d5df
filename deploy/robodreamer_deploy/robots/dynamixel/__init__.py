"""Robots whose joints are moved by Dynamixel servos."""
