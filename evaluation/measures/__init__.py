"""What can be measured of a told story without a judge, per segment."""
