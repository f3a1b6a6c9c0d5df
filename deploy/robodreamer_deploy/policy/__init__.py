"""The policy: its folder read and checked, its graphs, and the state carried between ticks."""
