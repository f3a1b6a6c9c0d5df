"""Properties of MuJoCo models: actuators, serial chains, servos, stability."""
