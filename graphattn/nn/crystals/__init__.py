"""Attention over crystals, whose atoms repeat without end."""
