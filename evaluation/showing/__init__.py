"""What people look at: the report, figures, story strips."""
