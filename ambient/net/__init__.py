"""asyncio sockets: listeners, TLS, tunnels, pool, relay."""
