"""The page of a lesson: methods with and without what keeps them from collapsing, step by step, to be projected."""
