"""Stories -> weights: the frozen parts, the three stages, and the one loop that trains them all."""
