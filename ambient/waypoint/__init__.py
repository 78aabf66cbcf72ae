"""The L7 proxy of a namespace, a service or a workload."""
