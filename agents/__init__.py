"""The runtime: hub, campaign, placement, command line."""
