"""Campaigns that ship with twinloop."""
