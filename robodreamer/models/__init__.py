"""Models: layers, distributions, encoder, RSSM, decoder, heads, and the world model of them."""
