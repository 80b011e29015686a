"""One pass over a video: sound frames, cuts, candidates with their scores and pictures."""
