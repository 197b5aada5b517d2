"""How processes tell each other what they have learned: notices on a board that all read."""
