"""Why a call works or does not: the decisions that it would meet, in their order, each with what decided it."""
