"""The kernel that stands in for one that was refused, and tells why."""
