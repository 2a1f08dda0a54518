"""One file a command. Bodies import what they need when they run, so that `sam-engine --help` answers at once."""
