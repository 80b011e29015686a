"""Pages, contact sheets, previews, statistics and differences for people who look at a dataset."""
