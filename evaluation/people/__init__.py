"""What people say of told stories: their answers on blinded ballots, and what these amount to."""
