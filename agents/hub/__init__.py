"""The hub: routes messages by name and tells presence."""
