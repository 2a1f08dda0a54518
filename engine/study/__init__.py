"""A human study: people rate masks of several sources without knowing whose they are (SAM paper, appendix G)."""
