"""Attention inside sets whose cost is linear in their elements."""
