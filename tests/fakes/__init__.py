"""Stand-ins for hardware, and sample values."""
