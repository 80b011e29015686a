"""Two runs beside one another: shared starts, paired differences, a verdict that was laid down beforehand."""
