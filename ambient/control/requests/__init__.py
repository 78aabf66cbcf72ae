"""What is enforced, counted and told of the requests for each service that is behind a waypoint."""
