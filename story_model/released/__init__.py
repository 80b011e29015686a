"""SEED-Story's published weights: what each file is, and how it becomes our networks."""
