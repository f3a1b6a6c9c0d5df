"""Simulated Dynamixel servos on a pseudo-terminal: protocol 2.0 outside, MuJoCo joints inside."""
