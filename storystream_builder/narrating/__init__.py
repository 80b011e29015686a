"""Captions and lines -> a checked story, with one cast over an episode."""
