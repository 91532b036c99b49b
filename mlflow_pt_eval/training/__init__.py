"""The training: a run around the user's own loop."""
