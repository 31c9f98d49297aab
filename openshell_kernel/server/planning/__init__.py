"""From a policy to a launch plan, stage by stage."""
