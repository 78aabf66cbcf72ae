"""Where all that is said of one service meets: routes, policies and profiles of every dialect become one value."""
