"""How a policy is enforced: standard library and the landlock binding only."""
