"""What a waypoint does with one request: decided here, done by ``ambient.waypoint``."""
