"""NVIDIA's real libraries, without a GPU: where they come from, and the machine that they are tried on."""
