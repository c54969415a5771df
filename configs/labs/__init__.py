"""Laboratories that ship with twinloop."""
