"""What a policy says of the network."""
