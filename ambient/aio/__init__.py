"""asyncio kit without domain: a watched value, backoff, supervised tasks."""
