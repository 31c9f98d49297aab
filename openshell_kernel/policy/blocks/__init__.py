"""The blocks of a policy, a file each, and what they are built of."""
