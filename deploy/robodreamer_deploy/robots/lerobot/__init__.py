"""Robots whose driver is a class written for LeRobot."""
