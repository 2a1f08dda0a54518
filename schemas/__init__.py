"""What data is: Arrow schemas, configuration, presets and SA-1B records. Imports none of the other floors."""
