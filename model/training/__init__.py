"""Training SAM by simulated interaction. Knows samples (a picture and its masks), not stores."""
