"""What is known of each device (one TOML a device) and how it is loaded."""
