"""The node daemon: finds workloads, enrols them, keeps the kernel at its wish, keeps the deposit."""
