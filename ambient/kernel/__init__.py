"""The only room that meets the kernel: BPF programs, maps, namespaces, sockets."""
