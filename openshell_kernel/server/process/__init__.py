"""The processes around a kernel: how they are started, talked to, followed and ended."""
