"""The same programs on GPUs: printed as Triton, compiled when they first run."""
