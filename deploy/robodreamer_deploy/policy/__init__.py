"""The policy: reading and checking its folder, running its graphs, carrying its state."""
