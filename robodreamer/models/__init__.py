"""Models: layers, distributions, latents, encoder, RSSM, decoder, heads; together a world model."""
