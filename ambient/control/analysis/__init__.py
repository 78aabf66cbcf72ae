"""What is wrong with a configuration as a whole, or will not do what its writer thinks: findings with stable codes."""
