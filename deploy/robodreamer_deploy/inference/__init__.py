"""The policy computed: graphs, the state carried between ticks, and the golden self-test."""
