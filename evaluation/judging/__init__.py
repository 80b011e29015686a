"""The judge: what it is asked, what it answers, what that is worth and what it costs."""
