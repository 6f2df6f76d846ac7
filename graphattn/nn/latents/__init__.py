"""Few latents that read a set, compute, and write back."""
