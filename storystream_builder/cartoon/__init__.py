"""A deterministic cartoon series: something to watch without shipping a video, and whose every frame is known."""
