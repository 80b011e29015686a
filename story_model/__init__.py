"""Ground floor: what a story is, and the network that tells one. Imports nothing else of this project."""
