"""What is remembered of targets between runs, and what follows from it."""
