"""GATv2 attention written by hand, which generated code is measured against."""
