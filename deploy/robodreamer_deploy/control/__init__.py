"""The control loop, and all that keeps a robot safe while it runs and afterwards."""
