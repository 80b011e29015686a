"""What is spoken: subtitle files and streams, or recognised speech, as timed lines."""
