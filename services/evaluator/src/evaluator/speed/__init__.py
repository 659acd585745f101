"""Forms of timing, the GPU's state while they run, and the roof over them."""
