"""What is allowed: the policy, its sources, its enrichment and its explanation. Pure, save loading and sources."""
