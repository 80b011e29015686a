"""Stories told from held-out openings, in batches that survive a kill."""
