"""Checkpoints: the target's state at exactly version n, so that a recovery replays only what came behind it."""
