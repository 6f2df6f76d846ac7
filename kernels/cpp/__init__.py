"""Edge programs as C++: printed, compiled, cached on disk, called through ctypes."""
