"""What lets the published packages run beside ours in a test: stand-ins for what they import and cannot be had."""
