"""Which endpoint is asked, for each request anew. A balancer is one worker's own; nothing of it is shared."""
