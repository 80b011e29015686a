"""How far told pictures are from true ones: distances between sets of features."""
